"""The command against a stand-in of Label Studio; with the real one in `tests/e2e`."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backend.batch import QueuedRun, RunRecords, queue_connection
from backend.batch.run_records import Progress
from backend.cli import build_app
from tests.clock import no_longer_than
from tests.fakes import brush_config, data_uri, encoded, striped
from tests.label_studio_stand_in import TOKEN, LabelStudioStandIn
from tests.redis_server import running_redis

RunCommand = Callable[..., Any]


@pytest.fixture
def project_id(studio: LabelStudioStandIn) -> int:
    return studio.add_project()


@pytest.fixture
def run(studio: LabelStudioStandIn, project_id: int, tmp_path: Path) -> RunCommand:
    """Runs `diffsegmenter preannotate` for the project with the stand-in."""

    def run_it(*options: str, project: int = project_id, **variables: str) -> Any:
        environment = {
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": TOKEN,
            "CACHE_DIR": str(tmp_path / "cache"),
            "REDIS_URL": "",
            "DEVICE": "cpu",
            "COLUMNS": "200",
            **variables,
        }
        arguments = ["preannotate", "--project", str(project), *options]
        return CliRunner().invoke(
            build_app(), arguments, env=environment, catch_exceptions=False
        )

    return run_it


def version_of(run: RunCommand) -> str:
    found = re.search(r"Model version: (\S+)", run("--dry-run").output)
    assert found is not None
    return found[1]


def pictures(n_pictures: int) -> list[str]:
    return [
        data_uri(encoded(striped("red", "white", size_yx=(64, 64 + n))))
        for n in range(n_pictures)
    ]


def test_dry_run_says_what_would_be_done_and_does_nothing(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand
) -> None:
    ids = studio.add_pictures(project_id, 3)
    studio.store(ids[0], version_of(run))

    result = run("--dry-run")

    assert result.exit_code == 0
    assert f"Project {project_id} 'pictures' has 3 tasks." in result.output
    assert "To do: 2 tasks." in result.output
    assert {seen.method for seen in studio.seen} == {"GET"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(["--limit", "1"], "To do: 1 task.", id="limit"),
        pytest.param(["--replace"], "To do: 3 tasks, less those", id="replace"),
        pytest.param(["--tasks", "8, 9 8"], "To do: 2 tasks, less those", id="tasks"),
    ],
)
def test_dry_run_counts_what_is_asked_for(
    options: list[str],
    says: str,
    studio: LabelStudioStandIn,
    project_id: int,
    run: RunCommand,
) -> None:
    ids = studio.add_pictures(project_id, 3)
    studio.store(ids[0], version_of(run))

    assert says in run("--dry-run", *options).output


def test_dry_run_counts_a_tabs_tasks(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand
) -> None:
    view_id = studio.add_tab(project_id, studio.add_pictures(project_id, 3)[1:])

    assert "To do: 2 tasks" in run("--dry-run", "--tab", str(view_id)).output


def test_missing_settings_are_all_named(run: RunCommand) -> None:
    result = run(LABEL_STUDIO_URL="", LABEL_STUDIO_API_KEY="")

    assert result.exit_code == 2
    assert "Set LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY" in result.output


def test_worker_names_redis_among_its_missing_settings() -> None:
    names = ("REDIS_URL", "LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY")

    result = CliRunner().invoke(build_app(), ["worker"], env=dict.fromkeys(names, ""))

    assert result.exit_code == 2
    assert f"Set {', '.join(names)}" in result.output
    assert "jobs come through Redis" in result.output


@pytest.mark.parametrize("text", ["", ",", "x", "1,x", "0", "-4", "1.5", "1;2"])
def test_tasks_that_cannot_be_read_are_refused_with_an_example(
    text: str, run: RunCommand
) -> None:
    result = run("--dry-run", "--tasks", text)

    assert result.exit_code == 2
    assert "--tasks 17,18,19" in result.output


@pytest.mark.parametrize(
    "options", [["--limit", "0"], ["--limit", "x"], ["--tab", "x"], ["--project", "0"]]
)
def test_odd_numbers_are_refused(options: list[str], run: RunCommand) -> None:
    assert run("--dry-run", *options).exit_code == 2


def test_an_unknown_project_is_refused_in_one_line(run: RunCommand) -> None:
    result = run(project=99)

    assert result.exit_code == 2
    assert "/api/projects/99 with status 404: Not found." in result.output


def test_a_wrong_token_is_refused_in_one_line(run: RunCommand) -> None:
    result = run(LABEL_STUDIO_API_KEY="ffff")

    assert result.exit_code == 2
    assert "401" in result.output
    assert "ffff" not in result.output


def test_a_label_studio_that_is_not_there_is_not_waited_for(run: RunCommand) -> None:
    # Of the minutes that it has patience for in the middle of a run, none.
    with no_longer_than(30):
        result = run(LABEL_STUDIO_URL="http://127.0.0.1:1")

    assert result.exit_code == 2
    assert "nothing listens there" in result.output


def test_a_label_config_with_nothing_to_segment_is_refused(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand
) -> None:
    studio.projects[project_id].label_config = "<View/>"

    assert run().exit_code == 2


@pytest.mark.parametrize(
    "options", [["--watch"], ["--cancel"], ["--watch", "--here"]], ids=" ".join
)
def test_watch_and_cancel_are_for_workers(options: list[str], run: RunCommand) -> None:
    result = run(*options)

    assert result.exit_code == 2
    assert "set REDIS_URL" in result.output


@pytest.mark.parametrize("option", ["--watch", "--cancel"])
def test_watch_without_a_run_says_so(
    option: str, project_id: int, run: RunCommand, redis_url: str
) -> None:
    result = run(option, REDIS_URL=redis_url)

    assert result.exit_code == 2
    assert f"No run of project {project_id} is known" in result.output


def test_a_redis_that_cannot_be_used_is_explained(run: RunCommand) -> None:
    result = run(REDIS_URL="redis://:s3cret@127.0.0.1:1/0")

    assert result.exit_code == 2
    assert "REDIS_URL cannot be used" in result.output
    assert "s3cret" not in result.output


def test_a_redis_cluster_is_refused_with_the_remedy(run: RunCommand) -> None:
    result = run(REDIS_URL="redis+cluster://127.0.0.1:1")

    assert result.exit_code == 2
    assert "preannotate --here" in result.output


def test_a_run_here_ends_with_0_when_every_task_has_its_prediction(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand
) -> None:
    ids = studio.add_tasks(project_id, *pictures(2))
    version = version_of(run)
    studio.store(ids[0], version)
    studio.store(ids[0], version)

    result = run("--no-set-version")

    assert result.exit_code == 0
    assert f"1 of 1 tasks hold a prediction of {version}" in result.output
    assert "1 duplicate removed" in result.output
    assert "The label stream shows predictions of no model" in result.output
    assert [studio.versions_of(task_id) for task_id in ids] == [[version], [version]]


def test_a_run_here_ends_with_1_and_writes_why_tasks_have_no_prediction(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, tmp_path: Path
) -> None:
    ids = studio.add_tasks(project_id, *pictures(1), "s3://größe/a", "")
    file = tmp_path / "failures.json"

    result = run("--failures", str(file))

    assert result.exit_code == 1
    assert "1 of 3 tasks hold a prediction" in result.output
    assert "No prediction for 2 tasks" in result.output
    rows = json.loads(file.read_text())
    assert [row["task"] for row in rows] == ids[1:]
    assert all(row["reason"] for row in rows)
    assert "größe" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["missing/failures.json", "."])
def test_a_file_that_cannot_be_written_is_refused_before_the_run(
    name: str,
    studio: LabelStudioStandIn,
    project_id: int,
    run: RunCommand,
    tmp_path: Path,
) -> None:
    studio.add_tasks(project_id, *pictures(1))

    result = run("--failures", str(tmp_path / name))

    assert result.exit_code == 2
    assert "--failures" in result.output
    assert studio.predictions == {}


def test_a_run_without_failures_writes_an_empty_list(
    project_id: int, run: RunCommand, tmp_path: Path
) -> None:
    file = tmp_path / "failures.json"

    result = run("--failures", str(file))

    assert result.exit_code == 0
    assert json.loads(file.read_text()) == []


def test_watch_tells_how_a_run_of_workers_ended(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, redis_url: str
) -> None:
    version = version_of(run)
    connection = queue_connection(redis_url)
    records = RunRecords(connection)
    run_id = records.begin(project_id, version, "all")
    records.extend(run_id, 3, 0)
    records.report(run_id, [0, 1], {17: "no image"})
    records.end_listing(run_id)
    connection.close()

    result = run("--watch", REDIS_URL=redis_url)

    assert result.exit_code == 1
    assert f"2 of 3 tasks hold a prediction of {version}" in result.output
    assert "task 17: no image" in result.output


def test_cancel_calls_a_run_off_that_waits(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, redis_url: str
) -> None:
    version = version_of(run)
    connection = queue_connection(redis_url)
    records = RunRecords(connection)
    run_id = records.begin(project_id, version, "all")
    records.extend(run_id, 3, 0)

    result = run("--cancel", REDIS_URL=redis_url)

    assert "the run was canceled" in result.output
    assert records.is_canceled(run_id)
    connection.close()


def test_a_queued_run_of_nothing_is_over_at_once(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, redis_url: str
) -> None:
    (task_id,) = studio.add_pictures(project_id, 1)
    studio.store(task_id, version_of(run))

    with no_longer_than(10):
        result = run(REDIS_URL=redis_url)

    assert result.exit_code == 0
    assert "Nothing to do" in result.output


def test_a_run_that_was_left_while_redis_is_away_ends_with_130(
    project_id: int, run: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(self: QueuedRun, run_id: str) -> Iterator[Progress | None]:
        server.stop()
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(QueuedRun, "watch", leave)
    with running_redis() as server:
        result = run(REDIS_URL=server.url)

    assert result.exit_code == 130
    assert "REDIS_URL cannot be used" not in result.output


def test_a_task_that_was_deleted_meanwhile_is_no_failure(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, tmp_path: Path
) -> None:
    ids = studio.add_tasks(project_id, *pictures(3))
    file = tmp_path / "failures.json"
    studio.before(
        "POST", lambda: studio.remove_task(ids[1]), path_part="/import/predictions"
    )

    result = run("--failures", str(file))

    assert result.exit_code == 0
    assert "2 of 3 tasks hold a prediction" in result.output
    assert "; 1 deleted meanwhile" in result.output
    assert "No prediction for" not in result.output
    assert json.loads(file.read_text()) == []


def test_alike_reasons_are_listed_once_and_written_one_by_one(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, tmp_path: Path
) -> None:
    ids = studio.add_tasks(project_id, *[f"s3://bucket/{n}.png" for n in range(3)])
    file = tmp_path / "failures.json"

    result = run("--failures", str(file))

    named = ", ".join(map(str, ids))
    assert re.search(rf"\n  3 tasks: .*\({named}\)\n", result.output)
    rows = json.loads(file.read_text())
    assert [row["task"] for row in rows] == ids
    assert len({row["reason"] for row in rows}) == 3


def test_a_config_changed_in_mid_run_is_done_for_its_new_version(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand
) -> None:
    ids = studio.add_tasks(project_id, *pictures(2))
    before = version_of(run)

    def change_config() -> None:
        config = brush_config('<Label value="red"/>')
        studio.projects[project_id].label_config = config

    studio.before("GET", change_config, path_part="/api/tasks")

    result = run()

    newer = studio.versions_of(ids[0])[-1]
    assert result.exit_code == 0
    assert newer != before
    assert f"2 of 2 tasks hold a prediction of {newer}" in result.output
    assert studio.projects[project_id].model_version == newer


def test_watching_a_run_that_a_changed_config_ended_says_what_to_do(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, redis_url: str
) -> None:
    connection = queue_connection(redis_url)
    records = RunRecords(connection)
    run_id = records.begin(project_id, version_of(run), "all")
    records.extend(run_id, 3, 0)
    records.end_for_newer(run_id, "diffsegmenter-newer")
    connection.close()

    result = run("--watch", REDIS_URL=redis_url)

    assert result.exit_code == 1
    assert "label config was changed, or its labels taught" in result.output
    assert "tasks lost" not in result.output


@pytest.mark.parametrize(
    ("options", "before", "is_set"),
    [
        pytest.param([], "DiffSegmenter", True, id="default"),
        pytest.param(["--set-version"], "DiffSegmenter", True, id="asked-for"),
        pytest.param(["--no-set-version"], "DiffSegmenter", False, id="declined"),
        pytest.param(["--replace"], "DiffSegmenter", True, id="replace"),
        pytest.param(["--limit", "9"], "DiffSegmenter", False, id="limit"),
        pytest.param(["--limit", "9"], "", True, id="limit-of-none"),
        pytest.param(
            ["--limit", "9", "--set-version"], "DiffSegmenter", True, id="limit-set"
        ),
        pytest.param([], "yolo-8", False, id="theirs"),
    ],
)
def test_the_project_shows_what_was_stored(
    options: list[str],
    before: str,
    is_set: bool,
    studio: LabelStudioStandIn,
    project_id: int,
    run: RunCommand,
) -> None:
    studio.add_tasks(project_id, *pictures(1))
    project = studio.projects[project_id]
    project.backends = {"DiffSegmenter": "diffsegmenter-pocket-fast-1"}
    project.model_version = before

    result = run(*options)

    assert result.exit_code == 0
    stored = next(iter(studio.predictions.values())).model_version
    assert project.model_version == (stored if is_set else before)


def test_a_queued_run_of_the_whole_project_sets_its_version(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, redis_url: str
) -> None:
    (task_id,) = studio.add_pictures(project_id, 1)
    version = version_of(run)
    studio.store(task_id, version)
    studio.projects[project_id].model_version = "diffsegmenter-earlier"

    result = run(REDIS_URL=redis_url)

    assert "Nothing to do" in result.output
    assert studio.projects[project_id].model_version == version


def test_a_refusal_to_set_the_version_is_said_and_no_failure(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand
) -> None:
    studio.add_tasks(project_id, *pictures(1))
    studio.answer(403, method="PATCH")

    result = run()

    assert result.exit_code == 0
    assert "The project's model version is not set to" in result.output
    assert "status 403" in result.output
