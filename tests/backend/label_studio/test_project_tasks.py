import itertools
import json
import threading

import pytest

from backend.errors import LabelStudioRefusal, LabelStudioUnavailable
from backend.label_studio.client import LabelStudioClient
from backend.label_studio.project_tasks import (
    PredictionSummary,
    ProjectInfo,
    ProjectTasks,
)
from backend.types import LabelStudioAccess, Task
from tests.clock import no_longer_than
from tests.fakes import RED_AND_BLUE, picture
from tests.label_studio_stand_in import (
    PERSONAL_TOKEN,
    TOKEN,
    LabelStudioStandIn,
)
from tests.redis_server import free_port
from tests.web_server import WebServer

VERSION = "diffsegmenter-a-fast-1"
OLDER = "diffsegmenter-a-fast-0"


@pytest.fixture
def project_id(studio: LabelStudioStandIn) -> int:
    return studio.add_project()


@pytest.fixture
def tasks(studio: LabelStudioStandIn, project_id: int) -> ProjectTasks:
    return ProjectTasks(studio.client(), project_id, retry_for_s=20)


def impatient(studio: LabelStudioStandIn, project_id: int) -> ProjectTasks:
    return ProjectTasks(studio.client(), project_id, retry_for_s=0)


def row(task_id: int, version: str = VERSION) -> dict[str, object]:
    return {"task": task_id, "result": [], "score": 0.5, "model_version": version}


def test_facts_describe_the_project(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    studio.add_pictures(project_id, 3)
    studio.projects[project_id].model_version = "DiffSegmenter"

    assert tasks.info() == ProjectInfo(
        title="pictures",
        label_config=RED_AND_BLUE,
        n_tasks=3,
        shown_version="DiffSegmenter",
    )


def test_lacking_gives_tasks_without_the_version_by_id(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_pictures(project_id, 4)
    studio.add_pictures(studio.add_project(), 1)
    studio.store(ids[0], VERSION)
    studio.store(ids[1], OLDER)

    page = tasks.tasks_without(VERSION)

    assert page.task_ids == tuple(ids[1:])
    assert page.n_remaining == 3


def test_lacking_pages_by_id_and_misses_none_while_tasks_leave_the_list(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_pictures(project_id, 10)
    studio.most_per_page = 3
    found: list[int] = []

    while page := tasks.tasks_without(
        VERSION, after_id=found[-1] if found else 0
    ).task_ids:
        found += page
        for task_id in page:  # a worker is quick
            studio.store(task_id, VERSION)

    assert found == ids


def test_all_gives_done_tasks_as_well(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_pictures(project_id, 3)
    studio.store(ids[1], VERSION)

    page = tasks.all(after_id=ids[0])

    assert page.task_ids == tuple(ids[1:])


def test_holding_several_gives_tasks_with_the_version_and_a_second_prediction(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    twice, mixed, once, other = studio.add_pictures(project_id, 4)
    for task_id, version in (
        (twice, VERSION),
        (twice, VERSION),
        (mixed, VERSION),
        (mixed, OLDER),
        (once, VERSION),
        (other, OLDER),
        (other, OLDER),
    ):
        studio.store(task_id, version)

    assert tasks.tasks_with_several(VERSION).task_ids == (twice, mixed)


@pytest.mark.parametrize("most_per_page", [None, 2, 3], ids=["all", "two", "three"])
def test_of_tab_gives_the_tabs_tasks_in_its_order(
    most_per_page: int | None,
    studio: LabelStudioStandIn,
    tasks: ProjectTasks,
    project_id: int,
) -> None:
    a, b, c, d, _ = studio.add_pictures(project_id, 5)
    view_id = studio.add_tab(project_id, [d, a, c, b])
    studio.most_per_page = most_per_page

    assert list(tasks.tasks_in_tab(view_id)) == [d, a, c, b]


def test_of_tab_gives_nothing_of_an_empty_tab(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    assert list(tasks.tasks_in_tab(studio.add_tab(project_id, []))) == []


def test_of_tab_refuses_a_tab_that_is_not_there(tasks: ProjectTasks) -> None:
    with pytest.raises(LabelStudioRefusal, match="404: No View matches"):
        list(tasks.tasks_in_tab(12345))


@pytest.mark.parametrize("most_per_page", [None, 1, 2], ids=["all", "one", "two"])
def test_fetch_gives_the_tasks_that_exist_however_small_the_pages(
    most_per_page: int | None,
    studio: LabelStudioStandIn,
    tasks: ProjectTasks,
    project_id: int,
) -> None:
    ids = studio.add_tasks(project_id, *[picture("red")] * 5)
    elsewhere = studio.add_tasks(studio.add_project(), picture("blue"))
    studio.remove_task(ids[2])
    studio.most_per_page = most_per_page

    found = tasks.fetch([*reversed(ids), *elsewhere, 99999])

    assert found == [
        Task(id=task_id, data={"image": picture("red")})
        for task_id in ids
        if task_id != ids[2]
    ]


def test_fetch_asks_for_addresses_as_they_were_imported(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_pictures(project_id, 1)

    tasks.fetch(ids)

    assert studio.seen[-1].query["resolve_uri"] == "false"


@pytest.mark.parametrize("most_per_page", [None, 1], ids=["all", "one"])
def test_holdings_tell_versions_and_counts_of_tasks_that_hold_one(
    most_per_page: int | None,
    studio: LabelStudioStandIn,
    tasks: ProjectTasks,
    project_id: int,
) -> None:
    none, older, once, twice, mixed = ids = studio.add_pictures(project_id, 5)
    studio.store(older, OLDER)
    studio.store(once, VERSION)
    for version in (VERSION, VERSION):
        studio.store(twice, version)
    for version in (OLDER, VERSION):
        studio.store(mixed, version)
    studio.most_per_page = most_per_page

    held = tasks.prediction_summaries(ids, VERSION)

    assert set(held) == {once, twice, mixed}
    assert none not in held
    assert held[once] == PredictionSummary(
        n_predictions=1, versions=frozenset({VERSION})
    )
    assert held[mixed] == PredictionSummary(
        n_predictions=2, versions=frozenset({VERSION, OLDER})
    )
    assert [held[task_id].has_duplicates for task_id in (once, twice, mixed)] == [
        False,
        True,
        False,
    ]


def test_a_task_of_many_versions_holds_the_one_that_is_not_told(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    (task_id,) = studio.add_pictures(project_id, 1)
    for number in range(30):
        studio.store(task_id, f"diffsegmenter-pocket-fast-{number:08}")
    last = f"diffsegmenter-pocket-fast-{29:08}"

    held = tasks.prediction_summaries([task_id], last)

    assert len(held[task_id].versions) < 30
    assert held[task_id].has_duplicates, "what is cut must be looked at"
    assert tasks.tasks_without(last).n_remaining == 0


def test_more_tasks_than_an_address_takes_are_asked_for_in_parts(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_pictures(project_id, 450)
    for task_id in ids[:430]:
        studio.store(task_id, VERSION)

    found = tasks.fetch(ids)
    held = tasks.prediction_summaries(ids, VERSION)

    assert [task.id for task in found] == ids
    assert sorted(held) == ids[:430]
    assert max(len(json.dumps(seen.query)) for seen in studio.seen) < 4000


def test_versions_of_gives_each_prediction_of_one_task(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    task_id, other = studio.add_pictures(project_id, 2)
    first, second = studio.store(task_id, OLDER), studio.store(task_id, VERSION)
    studio.store(other, VERSION)

    assert tasks.versions_of(task_id) == {first: OLDER, second: VERSION}


def test_store_stores_all_or_none_and_says_why(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    (task_id,) = studio.add_pictures(project_id, 1)

    with pytest.raises(LabelStudioRefusal) as caught:
        tasks.store([row(task_id), row(99999)])

    assert caught.value.status == 400
    assert "Prediction 1: Invalid task ID 99999" in str(caught.value)
    assert studio.predictions == {}


def test_store_is_tried_once(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    (task_id,) = studio.add_pictures(project_id, 1)
    studio.lose_answers()

    with pytest.raises(LabelStudioUnavailable):
        tasks.store([row(task_id)])

    assert studio.versions_of(task_id) == [VERSION]
    assert studio.n_requests("POST") == 1


def test_remove_removes_one_and_takes_one_that_is_gone(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    (task_id,) = studio.add_pictures(project_id, 1)
    first, second = studio.store(task_id, VERSION), studio.store(task_id, VERSION)

    tasks.remove(first)
    tasks.remove(first)

    assert list(studio.predictions_of(task_id)) == [second]


def test_remove_that_is_refused_raises(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    studio.answer(403)

    with pytest.raises(LabelStudioRefusal) as caught:
        tasks.remove(1)

    assert caught.value.status == 403


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_reading_is_tried_again_while_label_studio_is_away(
    status: int, studio: LabelStudioStandIn, tasks: ProjectTasks
) -> None:
    studio.answer(status)

    assert tasks.info().title == "pictures"
    assert studio.n_requests("GET") == 2


def test_reading_is_tried_again_when_the_connection_breaks(
    studio: LabelStudioStandIn, tasks: ProjectTasks
) -> None:
    studio.lose_requests(times=2)

    assert tasks.info().title == "pictures"


def test_reading_gives_up_when_patience_ends(
    studio: LabelStudioStandIn, project_id: int
) -> None:
    studio.answer(503, times=100)

    with (
        no_longer_than(10),
        pytest.raises(
            LabelStudioUnavailable, match=rf"/api/projects/{project_id} .*503"
        ),
    ):
        impatient(studio, project_id).info()


def test_reading_gives_up_when_the_work_is_stopped(
    studio: LabelStudioStandIn, project_id: int
) -> None:
    stop = threading.Event()
    studio.answer(503, times=1000)
    studio.before("GET", stop.set)
    tasks = ProjectTasks(studio.client(), project_id, retry_for_s=600, stop=stop)
    threading.Timer(0.2, stop.set).start()

    with no_longer_than(10), pytest.raises(LabelStudioUnavailable):
        tasks.info()


def test_a_server_that_is_not_there_is_away() -> None:
    client = LabelStudioClient(
        LabelStudioAccess(url=f"http://127.0.0.1:{free_port()}", token=TOKEN)
    )

    with pytest.raises(LabelStudioUnavailable, match="nothing listens there"):
        ProjectTasks(client, 1, retry_for_s=0).info()


def test_a_project_that_is_not_there_is_refused_at_once(
    studio: LabelStudioStandIn,
) -> None:
    with (
        no_longer_than(10),
        pytest.raises(LabelStudioRefusal, match=r"status 404: Not found\.") as caught,
    ):
        ProjectTasks(studio.client(), 7, retry_for_s=20).info()

    assert caught.value.status == 404
    assert len(studio.seen) == 1


def test_a_wrong_token_is_refused_at_once(
    studio: LabelStudioStandIn, project_id: int
) -> None:
    client = studio.client(token="ffff")

    with (
        no_longer_than(10),
        pytest.raises(LabelStudioRefusal, match=r"status 401: Invalid token\."),
    ):
        ProjectTasks(client, project_id, retry_for_s=20).info()


def test_a_personal_access_token_is_exchanged_anew_when_its_access_ends(
    studio: LabelStudioStandIn, project_id: int
) -> None:
    client = studio.client(token=PERSONAL_TOKEN)
    tasks = ProjectTasks(client, project_id, retry_for_s=0)
    (task_id,) = studio.add_pictures(project_id, 1)
    prediction_id = studio.store(task_id, VERSION)

    tasks.info()
    studio.end_access_tokens()
    tasks.store([row(task_id)])
    studio.end_access_tokens()
    tasks.remove(prediction_id)

    assert len(studio.versions_of(task_id)) == 1
    assert studio.n_requests("POST", "/api/token/refresh/") == 3


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_personal_access_token_is_exchanged_when_label_studio_is_back(
    status: int, studio: LabelStudioStandIn, project_id: int
) -> None:
    client = studio.client(token=PERSONAL_TOKEN)
    tasks = ProjectTasks(client, project_id, retry_for_s=20)
    studio.answer(status, path_part="/api/token/")
    studio.lose_requests(path_part="/api/token/")

    assert tasks.info().title == "pictures"


def test_a_revoked_personal_access_token_is_refused_at_once(
    studio: LabelStudioStandIn, project_id: int
) -> None:
    client = studio.client(token=PERSONAL_TOKEN)
    tasks = ProjectTasks(client, project_id, retry_for_s=20)
    studio.answer(401, path_part="/api/token/")

    with (
        no_longer_than(10),
        pytest.raises(LabelStudioRefusal, match="revoked") as caught,
    ):
        tasks.info()

    assert caught.value.status == 401
    assert len(studio.seen) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"tasks": 5}', b"null"])
def test_an_answer_that_is_no_list_of_tasks_is_refused_with_the_remedy(
    body: bytes, server: WebServer
) -> None:
    server.serve("/api/tasks", body)
    client = LabelStudioClient(LabelStudioAccess(url=server.url, token=TOKEN))

    with pytest.raises(LabelStudioRefusal, match="LABEL_STUDIO_URL"):
        ProjectTasks(client, 1, retry_for_s=20).all()


@pytest.mark.parametrize("joined", ["a,b", "a, b"])
def test_holdings_read_versions_of_either_database(
    joined: str, server: WebServer
) -> None:
    body = (
        '{"tasks": [{"id": 1, "total_predictions": 2, '
        f'"predictions_model_versions": "{joined}"}}], "total": 1}}'
    )
    server.serve("/api/tasks", body.encode())
    client = LabelStudioClient(LabelStudioAccess(url=server.url, token=TOKEN))

    held = ProjectTasks(client, 1, retry_for_s=0).prediction_summaries([1], "a")[1]

    assert held == PredictionSummary(n_predictions=2, versions=frozenset({"a", "b"}))


def test_paging_ends_where_tasks_are_removed_meanwhile(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_pictures(project_id, 6)
    studio.most_per_page = 2
    pages = itertools.count()

    def remove_some() -> None:
        if next(pages) == 1:
            for task_id in ids[2:5]:
                studio.remove_task(task_id)

    studio.before("GET", remove_some, times=100)

    assert [task.id for task in tasks.fetch(ids)] == [ids[0], ids[1], ids[5]]


HEAVY = "data:image/png;base64," + "A" * 3_000_000


def test_tasks_that_hold_their_pictures_are_asked_for_in_smaller_pages(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_tasks(project_id, *[HEAVY] * 12)
    found: list[int] = []

    while page := tasks.all(after_id=found[-1] if found else 0).task_ids:
        found += page
        assert len(found) <= len(ids)

    assert found == ids
    assert [task.id for task in tasks.fetch(ids)] == ids
    assert all(task.data["image"] == HEAVY for task in tasks.fetch(ids[:2]))


@pytest.mark.parametrize("most_per_page", [None, 18], ids=["all", "eighteen"])
def test_of_tab_gives_tasks_that_hold_their_pictures_in_order(
    most_per_page: int | None,
    studio: LabelStudioStandIn,
    tasks: ProjectTasks,
    project_id: int,
) -> None:
    light = studio.add_pictures(project_id, 18)
    shown = [*light, *studio.add_tasks(project_id, *[HEAVY] * 12)]
    view_id = studio.add_tab(project_id, shown)
    studio.most_per_page = most_per_page

    assert list(tasks.tasks_in_tab(view_id)) == shown


def test_a_task_that_is_too_large_alone_is_refused_with_its_cause(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_tasks(project_id, HEAVY * 12)

    with pytest.raises(LabelStudioRefusal, match="more than 32 MiB"):
        tasks.fetch(ids)
