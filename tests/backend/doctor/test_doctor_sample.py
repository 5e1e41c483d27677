import base64
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from backend.doctor.findings import Finding
from backend.doctor.labels import check_label_config
from backend.doctor.project import Project
from backend.doctor.sample import check_prediction, check_sample
from backend.images import ImageFetcher
from backend.inference import Predictor
from backend.types import CutOptions, LabelStudioAccess, Task
from tests.backend.doctor.checks import client_of, outcome, serve_json
from tests.fakes import (
    RED_AND_BLUE,
    ColourSegmenter,
    brush_config,
    defaults_of,
    encoded,
    make_predictor,
    picture,
    striped,
)
from tests.web_server import WebServer, running_web_server

PROJECT = Project(
    id=7,
    title="Stripes",
    label_config=RED_AND_BLUE,
    shows_predictions=True,
    predicts_when_listed=False,
)
ACCESS = LabelStudioAccess(url=None)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


def config_of(project: Project) -> Any:
    _, config = outcome(
        check_label_config(project, defaults_of(CutOptions(threshold_01=0.5)))
    )
    return config


def read(
    web: WebServer, data: dict[str, Any], project: Project = PROJECT
) -> tuple[list[Finding], Task | None]:
    serve_json(web, "/api/tasks", {"tasks": [{"id": 3, "data": data}]})
    client, fetcher = client_of(web), ImageFetcher(timeout_s=5)
    return outcome(
        check_sample(client, project, config_of(project), fetcher, task_id=None)
    )


def predict(
    *colours: str,
    project: Project = PROJECT,
    predictor: Predictor | None = None,
) -> Finding:
    task = Task(id=3, data={"image": picture(*colours)})
    (finding,), _ = outcome(
        check_prediction(
            predictor or make_predictor(ColourSegmenter()),
            project,
            config_of(project),
            task,
            ACCESS,
        )
    )
    return finding


def test_check_sample_reads_the_image_with_the_token(web: WebServer) -> None:
    web.serve("/data/upload/7/a.png", encoded(striped("red", size_yx=(4, 6))))

    (finding,), task = read(web, {"image": "/data/upload/7/a.png"})

    assert task is not None
    assert task.id == 3
    assert finding.level == "ok"
    assert finding.seen.startswith("task 3: 1 image read in ")
    assert finding.details == ("/data/upload/7/a.png, 6 x 4 pixels",)
    assert "authorization" in web.seen[-1].headers


def test_check_sample_reads_all_pages_and_names_the_first(web: WebServer) -> None:
    pages = replace(
        PROJECT,
        label_config=RED_AND_BLUE.replace('value="$image"', 'valueList="$pages"'),
    )

    (finding,), task = read(web, {"pages": [picture("red")] * 7}, pages)

    assert task is not None
    assert "7 images read" in finding.seen
    assert len(finding.details) == 5


@pytest.mark.parametrize(
    ("tag", "size_yx", "levels"),
    [
        ("Bitmask", (2001, 3000), ["warning", "ok"]),
        ("Bitmask", (2000, 3000), ["ok"]),
        ("Brush", (2001, 3000), ["ok"]),
    ],
)
def test_check_sample_says_that_large_bitmasks_open_slowly_and_goes_on(
    web: WebServer, tag: str, size_yx: tuple[int, int], levels: list[str]
) -> None:
    web.serve("/data/upload/7/a.png", encoded(striped("red", size_yx=size_yx)))
    config = RED_AND_BLUE.replace("BrushLabels", f"{tag}Labels")
    project = replace(PROJECT, label_config=config)

    found, task = read(web, {"image": "/data/upload/7/a.png"}, project)

    assert task is not None
    assert [finding.level for finding in found] == levels


def test_check_sample_reports_an_image_that_is_missing(web: WebServer) -> None:
    (finding,), task = read(web, {"image": "/data/upload/7/gone.png"})

    assert task is None
    assert finding.level == "problem"
    assert "status 404" in finding.seen
    assert finding.remedy


def test_check_sample_shows_no_signature_of_an_address(web: WebServer) -> None:
    url = web.serve("/bucket/a.png", b"", status=403)
    found, _ = read(web, {"image": f"{url}?X-Amz-Signature=s3cret"})

    assert found[0].level == "problem"
    assert "s3cret" not in str(found)


def test_check_sample_reports_a_task_whose_data_has_another_name(
    web: WebServer,
) -> None:
    (finding,), task = read(web, {"picture": "/a.png"})

    assert task is None
    assert finding.level == "problem"
    assert "$image" in finding.seen
    assert "['picture']" in str(finding)


def test_check_sample_reports_one_bad_image_beside_a_good_one(web: WebServer) -> None:
    pages = replace(
        PROJECT,
        label_config=RED_AND_BLUE.replace('value="$image"', 'valueList="$pages"'),
    )
    broken = "data:image/png;base64," + base64.b64encode(b"no png").decode()

    found, task = read(web, {"pages": [picture("red"), broken]}, pages)

    assert task is None
    assert sorted(finding.level for finding in found) == ["ok", "problem"]


def test_check_sample_reports_a_project_without_tasks(web: WebServer) -> None:
    serve_json(web, "/api/tasks", {"tasks": []})
    client, fetcher = client_of(web), ImageFetcher()

    (finding,), task = outcome(
        check_sample(client, PROJECT, config_of(PROJECT), fetcher, task_id=9)
    )

    assert task is None
    assert finding.seen == "project 7 cannot be tried: it has no task 9"


def test_check_sample_is_skipped_without_a_config(web: WebServer) -> None:
    client, fetcher = client_of(web), ImageFetcher()

    (finding,), _ = outcome(check_sample(client, PROJECT, None, fetcher, task_id=None))

    assert finding.level == "skipped"
    assert web.seen == []


def test_check_prediction_counts_regions_and_names_the_best_scores() -> None:
    finding = predict("red", "white", "blue")

    assert finding.level == "ok"
    assert finding.seen.startswith("2 regions in ")
    assert "nothing was stored" in finding.seen
    assert finding.details == (
        "'red': 1, best score 0.99",
        "'blue': 1, best score 0.99",
    )


def test_check_prediction_counts_a_pair_of_results_as_one_region() -> None:
    pair = replace(
        PROJECT,
        label_config='<View><Image name="image" value="$image"/>'
        '<Labels name="l" toName="image"><Label value="red"/></Labels>'
        '<Brush name="b" toName="image"/></View>',
    )

    finding = predict("red", "white", project=pair)

    assert finding.seen.startswith("1 region in ")
    assert finding.details == ("'red': 1, best score 0.99",)


def test_check_prediction_says_how_near_nothing_came(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)

    finding = predict("black", "white")

    assert finding.level == "warning"
    assert finding.seen.startswith("nothing was found, in ")
    assert any("(needs 0.50)" in line for line in finding.details)
    assert finding.remedy is not None
    assert "model_score_threshold" in finding.remedy
    # It is told once, in the finding.
    assert caplog.records == []


def test_check_prediction_leaves_logging_as_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = logging.getLogger("backend")
    caplog.set_level(logging.ERROR, "backend")
    before = (log.level, log.propagate, list(log.handlers))

    predict("red")

    assert (log.level, log.propagate, list(log.handlers)) == before


def test_check_prediction_reports_why_a_task_was_not_answered() -> None:
    def fail(pixels: Any) -> None:
        raise RuntimeError("CUDA out of memory")

    failing = make_predictor(ColourSegmenter(before=fail))

    finding = predict("red", "white", predictor=failing)

    assert finding.level == "problem"
    assert any("Task 3" in line for line in finding.details)


def test_check_prediction_reports_regions_that_validation_refuses() -> None:
    class Wrong(Predictor):
        """Answers with a label that the config does not have."""

        def predict(self, request: Any, access: Any) -> list[Any]:
            (answer,) = super().predict(request, access)
            assert isinstance(answer, dict)
            for region in answer["result"]:
                region["value"]["brushlabels"] = ["giraffe"]
            return [answer]

    good = make_predictor(ColourSegmenter())
    fields = {name: getattr(good, name) for name in good.__dataclass_fields__}

    finding = predict("red", "white", predictor=Wrong(**fields))

    assert finding.level == "problem"
    assert "strict validation refuses" in finding.seen
    assert "giraffe" in str(finding.details)


@pytest.mark.parametrize(
    ("predictor", "task", "reason"),
    [
        (None, Task(id=1, data={}), "because the model is not loaded"),
        (make_predictor(ColourSegmenter()), None, "because no image was read"),
    ],
)
def test_check_prediction_is_skipped_without_its_parts(
    predictor: Predictor | None, task: Task | None, reason: str
) -> None:
    (finding,), _ = outcome(
        check_prediction(predictor, PROJECT, config_of(PROJECT), task, ACCESS)
    )

    assert finding.level == "skipped"
    assert finding.seen == reason


def test_dynamic_labels_that_a_task_lacks_are_a_problem(web: WebServer) -> None:
    dynamic = replace(PROJECT, label_config=brush_config("", 'value="$labels"'))

    (finding,), task = read(web, {"image": picture("red")}, dynamic)

    assert task is None
    assert finding.level == "problem"
