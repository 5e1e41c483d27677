"""What the page says of the backend, and whom it tells."""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from backend.doctor import Finding, problem
from backend.page.state import RecentFailures, recent_failures
from tests.backend.page.test_guard import token_of
from tests.fakes import ColourSegmenter, make_predictor
from tests.serving import client_of, make_page

_FOUND = problem("cache", "it is <full>", "Empty it.", "a line")


def served(**options: Any) -> FlaskClient:
    predictor = make_predictor(ColourSegmenter())
    return client_of(predictor, page=make_page(predictor, **options))


def examine(client: FlaskClient, body: Any) -> Any:
    headers = {"X-Page-Token": token_of(client)}
    return client.post("/page/doctor", json=body, headers=headers)


def test_state_names_model_cache_queue_and_versions() -> None:
    page = served().get("/page/state").text

    for said in ("Colours on paper", "ready", "A dict", "REDIS_URL", "Python", "torch"):
        assert said in page


def test_state_shows_failures_with_their_remedy_escaped() -> None:
    client = served()
    logging.getLogger("backend.images").warning("No <b>; set %s.", "IMAGE_HOSTS")

    page = client.get("/page/state").text

    assert "No &lt;b&gt;; set IMAGE_HOSTS." in page


def test_strangers_see_no_failures_and_ask_no_doctor() -> None:
    client = served(is_on_loopback=False, doctor=lambda project: iter([_FOUND]))
    logging.getLogger("backend.images").warning("a failure of somebody")

    page = client.get("/page/state").text

    assert "a failure of somebody" not in page
    assert "BASIC_AUTH_USER" in page
    assert examine(client, {}).status_code == 403


@pytest.mark.parametrize(
    ("body", "project"), [({"project": 12}, 12), ({"project": None}, None), ({}, None)]
)
def test_doctor_is_asked_on_a_button(body: Any, project: int | None) -> None:
    asked = []

    def doctor(project: int | None) -> Iterator[Finding]:
        asked.append(project)
        yield _FOUND

    answer = examine(served(doctor=doctor), body)

    assert asked == [project]
    assert answer.json == {
        "findings": [
            {
                "level": "problem",
                "subject": "cache",
                "seen": "it is <full>",
                "remedy": "Empty it.",
                "details": ["a line"],
            }
        ]
    }


def test_one_doctor_at_a_time() -> None:
    began, ends = threading.Event(), threading.Event()

    def doctor(project: int | None) -> Iterator[Finding]:
        began.set()
        assert ends.wait(20)
        yield _FOUND

    client = served(doctor=doctor)
    first = threading.Thread(target=examine, args=(client, {}))
    first.start()
    try:
        assert began.wait(20)
        assert examine(client, {}).status_code == 503
    finally:
        ends.set()
        first.join()
    assert examine(client, {}).status_code == 200


def test_doctor_waits_for_the_model_that_is_being_loaded() -> None:
    client = served(doctor=lambda project: iter([_FOUND]), model_status="loading")

    answer = examine(client, {})

    assert answer.status_code == 503
    assert "still loading" in answer.json["error"]["message"]


def test_server_without_doctor_shows_no_button() -> None:
    client = served()

    assert 'id="doctor"' not in client.get("/page/state").text
    assert examine(client, {}).status_code == 404


def test_recent_failures_keep_the_latest_and_cut_the_long() -> None:
    handler = RecentFailures()
    for number in range(60):
        handler.handle(
            logging.LogRecord("x", logging.ERROR, "", 1, f"{number} " * 999, (), None)
        )

    kept = handler.latest_first()

    assert len(kept) == 50
    assert kept[0].text.startswith("59 ")
    assert max(len(one.text) for one in kept) == 1000


def test_recent_failures_are_listened_for_once() -> None:
    assert recent_failures() is recent_failures()
    assert logging.getLogger("backend").handlers.count(recent_failures()) == 1
