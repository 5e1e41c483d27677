"""What the page says of a project, from real records in Redis and in a file."""

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from backend.batch import RunRecords, queue_connection
from backend.feedback import (
    Correction,
    FeedbackStore,
    RegionOutcome,
    open_feedback_store,
)
from backend.label_studio import LabelStudioConnections, parse_setup
from backend.page import Projects
from backend.page.project import Chart, in_stretches
from backend.types import LabelStudioAccess
from tests.fakes import ColourSegmenter, make_predictor
from tests.redis_server import running_redis
from tests.serving import SETUP, client_of, make_page


def outcome(label: str, kind: Any, iou: float) -> RegionOutcome:
    return RegionOutcome(label=label, kind=kind, iou=iou, added_px=0, removed_px=0)


def correction(number: int, *outcomes: RegionOutcome) -> Correction:
    return Correction(
        project="7",
        task=str(number),
        annotation=number,
        updated_at=f"2026-11-{number:02}T10:00:00Z",
        outcomes=outcomes,
    )


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return open_feedback_store(None, tmp_path)


def shown(path: str = "/page/project?project=7", **known: Any) -> str:
    return served(**known).get(path).text


def served(*, is_on_loopback: bool = True, **known: Any) -> FlaskClient:
    connections = LabelStudioConnections(LabelStudioAccess(url=None), trusts_setup=True)
    connections.register(parse_setup(SETUP | {"project": "12.1700000000"}))
    predictor = make_predictor(ColourSegmenter())
    projects = Projects(connections=connections, **known)
    page = make_page(predictor, projects=projects, is_on_loopback=is_on_loopback)
    return client_of(predictor, page=page)


def test_projects_that_were_heard_of_are_linked(store: FeedbackStore) -> None:
    store.put(correction(1, outcome("cat", "accepted", 1)))

    page = shown("/page/project", corrections=store)

    assert 'href="project?project=7"' in page
    assert 'href="project?project=12"' in page


def test_corrections_are_shown_by_label_and_over_time(store: FeedbackStore) -> None:
    for number in range(1, 5):
        kind = "accepted" if number > 2 else "corrected"
        store.put(correction(number, outcome("<cat>", kind, 0.5 + number / 10)))
    store.put(correction(5, outcome("dog", "drawn", 0)))

    page = shown(corrections=store)

    assert "5 corrected tasks" in page
    assert "nothing was learned yet" in page
    assert '<th scope="row">&lt;cat&gt;</th>' in page
    assert 'aria-label="Accepted of &lt;cat&gt;: 0%, 0%, 100%, 100%"' in page
    assert 'aria-label="IoU of corrections of &lt;cat&gt;: 60%, 70%"' in page
    assert 'aria-label="Accepted of dog: not known"' in page
    store.close()


def test_run_is_shown_with_grouped_reasons(redis_url: str) -> None:
    records = RunRecords(queue_connection(redis_url))
    run = records.begin(7, "v1", "all")
    records.extend(run, 10, 0, is_last=True)
    records.report(
        run,
        [0, 1, 2],
        {
            41: "GET 'http://a.org/1.png' answered 404.",
            42: "GET 'http://a.org/2.png' answered 404.",
            43: "<b>another</b>",
        },
    )

    page = shown(runs=records)

    assert "<b>3</b> of 10 done, <b>3</b> failed" in page
    assert "<td>2</td>" in page
    assert "41, 42" in page
    assert "&lt;b&gt;another&lt;/b&gt;" in page


def test_rate_is_that_since_the_run_was_looked_at_first(redis_url: str) -> None:
    records = RunRecords(queue_connection(redis_url))
    run = records.begin(7, "v1", "all")
    records.extend(run, 10, 0)
    client = served(runs=records)
    before = client.get("/page/project?project=7").text

    records.report(run, [0, 1, 2, 3], {})
    after = client.get("/page/project?project=7").text

    assert "a second" not in before
    assert "a second" in after
    assert 'id="run" data-live' in after


def test_what_is_not_there_is_said_in_a_sentence(store: FeedbackStore) -> None:
    nothing = shown()
    empty = shown(corrections=store)

    assert "need REDIS_URL" in nothing
    assert "LEARNING=off" in nothing
    assert "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY" in nothing
    assert "feedback import --project 7" in empty


def test_redis_that_is_away_is_said(redis_url: str) -> None:
    with running_redis() as server:
        records = RunRecords(queue_connection(server.url))

    assert "Redis cannot be used" in shown(runs=records)


def test_strangers_see_no_project(store: FeedbackStore) -> None:
    store.put(correction(1, outcome("cat", "accepted", 1)))
    client = served(corrections=store, is_on_loopback=False)

    page = client.get("/page/project?project=7").text

    assert "cat" not in page
    assert "project=7" not in page
    assert client.get("/page/thumbnails/7/1").status_code == 403


@pytest.mark.parametrize("number", ["x", "-3", "0", "99999999999999999999"])
def test_odd_numbers_of_projects_break_nothing(number: str) -> None:
    answer = served().get(f"/page/project?project={number}")

    assert answer.status_code == 200


def test_stretches_share_corrections_in_their_order() -> None:
    many = [correction(number % 28 + 1) for number in range(30)]

    stretches = in_stretches(many[::-1])

    assert len(stretches) == 12
    assert sum(map(len, stretches)) == 30
    assert {len(one) for one in stretches} == {2, 3}
    ranks = [one.rank for stretch in stretches for one in stretch]
    assert ranks == sorted(ranks)
    assert in_stretches([]) == []


def test_chart_leaves_out_what_is_not_known() -> None:
    chart = Chart(values=(0.0, None, 1.0))

    assert chart.dots == [(3, 29.0), (117.0, 3.0)]
    assert Chart(values=()).line == ""
    assert Chart(values=(0.5,)).dots == [(3, 16.0)]
