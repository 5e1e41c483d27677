"""The command against a stand-in of Label Studio; with the real one in `tests/e2e`."""

import contextlib
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner

from backend.cli import build_app
from segmenter.evaluation.voc_folder import open_voc_folder
from tests.backend.export.drawn import region
from tests.fakes import data_uri, encoded, striped
from tests.label_studio_stand_in import TOKEN, LabelStudioStandIn
from tests.masks import wavy

CONFIG = """<View>
  <Image name="photo" value="$image"/>
  <BrushLabels name="tag" toName="photo">
    <Label value="cat"/><Label value="dog"/>
  </BrushLabels>
</View>"""
SIZE_YX = (20, 30)
MASK = wavy(*SIZE_YX)
PICTURE = striped("red", "blue", size_yx=SIZE_YX)

RunCommand = Callable[..., Any]


@pytest.fixture
def project_id(studio: LabelStudioStandIn) -> int:
    return studio.add_project(label_config=CONFIG)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(studio: LabelStudioStandIn, project_id: int, out: Path) -> RunCommand:
    """Runs `diffsegmenter export` for the project with the stand-in."""

    def run_it(*options: str, format: str = "coco", **variables: str) -> Any:
        environment = {
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": TOKEN,
            "COLUMNS": "200",
            **variables,
        }
        arguments = ["export", "--project", str(project_id), "--out", str(out)]
        return CliRunner().invoke(
            build_app(),
            [*arguments, "--format", format, *options],
            env=environment,
            catch_exceptions=False,
        )

    return run_it


def coco(out: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(out / "annotations.json"))


def index(out: Path) -> list[dict[str, str]]:
    with (out / "images.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def upload(number: int) -> str:
    return f"/data/upload/1/p{number}.png"


def picture_uri(pixels: np.ndarray = PICTURE) -> str:
    return data_uri(encoded(pixels))


def test_annotated_tasks_are_exported_whatever_the_server_gives_at_once(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, out: Path
) -> None:
    studio.most_per_page = 3
    ids = studio.add_tasks(project_id, *[upload(number) for number in range(9)])
    for task_id in ids[:8]:
        studio.annotate(task_id, [region(MASK)])
    studio.store(ids[8], "diffsegmenter-x")

    result = run()

    assert result.exit_code == 0
    assert f"{out}: 8 pictures with 8 regions, of 8 tasks" in result.output
    assert [image["task_id"] for image in coco(out).imgs.values()] == ids[:8]
    assert [(row["file_name"], row["task"], row["address"]) for row in index(out)] == [
        (f"p{number}.png", str(task_id), upload(number))
        for number, task_id in enumerate(ids[:8])
    ]
    assert studio.n_requests("POST") == 0
    assert not studio.n_requests("GET", "/api/predictions")


def test_the_annotation_changed_last_counts_unless_another_is_asked_for(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, out: Path
) -> None:
    several, one = studio.add_tasks(project_id, upload(1), upload(2))
    truth = studio.annotate(several, [region(MASK, "cat")], ground_truth=True)
    last = studio.annotate(several, [region(MASK)], updated_at="2027")
    first = studio.annotate(several, [region(MASK)])
    studio.annotate(several, [region(~MASK)], was_cancelled=True, updated_at="2028")
    other = studio.annotate(one, [])

    def exported(choice: str) -> list[tuple[str, int]]:
        result = run("--annotations", choice, "--force", format="yolo")
        assert result.exit_code == 0, result.output
        return [(row["file_name"], int(row["annotation"])) for row in index(out)]

    # A picture with nothing drawn has to be looked at for its size.
    studio.tasks[one]["data"]["image"] = picture_uri()
    assert exported("latest") == [("p1.png", last), (f"task{one}", other)]
    assert exported("ground-truth") == [("p1.png", truth)]
    assert exported("all") == [
        ("p1.png", truth),
        (f"p1-task{several}-annotation{last}.png", last),
        (f"p1-task{several}-annotation{first}.png", first),
        (f"task{one}-annotation{other}", other),
    ]


def test_a_bad_task_is_told_and_costs_no_other(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, tmp_path: Path
) -> None:
    good, damaged, gone, odd, empty = studio.add_tasks(
        project_id, upload(1), upload(2), upload(3), upload(4), data_uri(b"no image")
    )
    broken = region(MASK)
    broken["value"]["rle"] = broken["value"]["rle"][:-9]
    studio.annotate(good, [region(MASK)])
    studio.annotate(damaged, [region(MASK), broken | {"id": "r2"}])
    studio.annotate(gone, [region(MASK)])
    studio.annotate(odd, [{"id": "r1", "type": "brushlabels", "value": 5}])
    studio.annotate(empty, [])
    studio.before(
        "GET",
        lambda: studio.remove_task(gone),
        path_part=f"/api/tasks/{gone}/annotations",
    )
    failures = tmp_path / "failures.json"

    result = run("--failures", str(failures))

    assert result.exit_code == 1
    assert "1 pictures with 1 regions, of 1 tasks" in result.output
    assert "Left out, whole: 4 tasks:" in result.output
    reasons = {row["task"]: row["reason"] for row in json.loads(failures.read_text())}
    assert list(reasons) == [damaged, gone, odd, empty]
    assert "stream of" in reasons[damaged]
    assert "Not found" in reasons[gone]
    assert "has no value" in reasons[odd]
    assert "are not an image" in reasons[empty]
    for task_id, reason in reasons.items():
        assert f"task {task_id}: {reason}" in result.output


def test_what_nobody_expected_costs_one_task_as_well(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand
) -> None:
    first, second = studio.add_tasks(project_id, upload(1), upload(2))
    studio.annotate(first, [region(MASK)])
    studio.annotations[studio.annotate(second, [])]["result"] = 5

    result = run()

    assert result.exit_code == 1
    assert "1 pictures with 1 regions" in result.output
    assert f"task {second}: Unexpected error: TypeError" in result.output


def test_what_is_no_mask_is_told(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand
) -> None:
    (task_id,) = studio.add_tasks(project_id, upload(1))
    nothing = region(np.zeros(SIZE_YX, bool), region_id="r2")
    ellipse = {"id": "e", "type": "ellipselabels", "value": {}}
    studio.annotate(task_id, [region(MASK, "owl"), nothing, ellipse])

    result = run()

    assert result.exit_code == 0
    assert "1 x ellipselabels" in result.output
    assert "1 x region without a pixel" in result.output
    assert "does not hold, added: 'owl'" in result.output


@pytest.mark.parametrize(
    ("format", "folder"),
    [("coco", "images"), ("yolo", "images"), ("png", "JPEGImages")],
)
def test_images_are_written_upright_and_without_loss(
    studio: LabelStudioStandIn,
    project_id: int,
    run: RunCommand,
    out: Path,
    format: str,
    folder: str,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = io.BytesIO()
    Image.fromarray(np.rot90(PICTURE)).save(stored, "PNG", exif=exif)
    (task_id,) = studio.add_tasks(project_id, data_uri(stored.getvalue()))
    studio.annotate(task_id, [region(MASK)])

    result = run("--images", format=format)

    assert result.exit_code == 0, result.output
    with Image.open(out / folder / f"task{task_id}.png") as opened:
        np.testing.assert_array_equal(np.asarray(opened), PICTURE)
    (row,) = index(out)
    assert row["address"] == "data:"
    assert (row["rows"], row["columns"]) == ("20", "30")


def test_an_image_of_another_size_than_its_regions_is_told_and_not_written(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, out: Path
) -> None:
    other, same = studio.add_tasks(
        project_id, picture_uri(striped("red", "blue", size_yx=(21, 30))), picture_uri()
    )
    studio.annotate(other, [region(MASK)])
    studio.annotate(same, [region(MASK)])

    result = run("--images")

    assert result.exit_code == 1
    assert (
        f"task {other}: The regions were drawn on an image of 20 x 30" in result.output
    )
    assert [path.name for path in (out / "images").iterdir()] == [f"task{same}.png"]


def test_yolo_and_png_hold_the_same_mask(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, out: Path
) -> None:
    (task_id,) = studio.add_tasks(project_id, picture_uri())
    studio.annotate(task_id, [region(MASK)])

    run("--images", format="png")
    truth = open_voc_folder(out).read_truth(f"task{task_id}")
    refused = run("--force", format="yolo")
    (out / "classes.txt").rename(out.parent / "classes.txt")

    np.testing.assert_array_equal(truth, np.where(MASK, 2, 0))
    assert (out.parent / "classes.txt").read_text() == "cat\ndog\n"
    # A folder of another format is not this one's to replace.
    assert refused.exit_code == 2
    assert "holds what no export of this format writes" in refused.output


def test_only_what_a_tab_shows_is_exported(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, out: Path
) -> None:
    ids = studio.add_tasks(project_id, *[upload(number) for number in range(4)])
    for task_id in ids[:3]:
        studio.annotate(task_id, [region(MASK)])
    tab = studio.add_tab(project_id, [ids[3], ids[2], ids[0]])

    result = run("--tab", str(tab))

    assert result.exit_code == 0
    assert "1 tasks have no such annotation" in result.output
    assert [int(row["task"]) for row in index(out)] == [ids[0], ids[2]]


def test_nothing_annotated_is_no_success(run: RunCommand, out: Path) -> None:
    result = run(format="yolo")

    assert result.exit_code == 1
    assert "0 pictures" in result.output
    assert yaml.safe_load((out / "data.yaml").read_text())["names"] == {
        0: "cat",
        1: "dog",
    }


def test_label_studio_may_be_away_for_a_moment(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand
) -> None:
    (task_id,) = studio.add_tasks(project_id, upload(1))
    studio.annotate(task_id, [region(MASK)])
    studio.answer(503, path_part="/annotations")
    studio.lose_answers(method="GET", path_part="/annotations")

    assert run().exit_code == 0


def test_a_token_that_is_revoked_ends_it_and_leaves_nothing(
    studio: LabelStudioStandIn, project_id: int, run: RunCommand, out: Path
) -> None:
    (task_id,) = studio.add_tasks(project_id, upload(1))
    studio.annotate(task_id, [region(MASK)])
    studio.answer(401, path_part="/annotations", times=9)

    result = run()

    assert result.exit_code == 2
    assert "with status 401" in result.output
    assert list(out.parent.iterdir()) == []


def test_a_folder_with_something_in_it_is_refused_before_anything_is_asked(
    studio: LabelStudioStandIn, run: RunCommand, out: Path
) -> None:
    out.mkdir()
    (out / "mine").write_text("")

    result = run()

    assert result.exit_code == 2
    assert "is not empty (mine)" in result.output
    assert not studio.n_requests("GET", "/api/tasks")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"LABEL_STUDIO_API_KEY": ""}, "Set LABEL_STUDIO_API_KEY"),
        ({"LABEL_STUDIO_API_KEY": "1" * 40}, "Correct LABEL_STUDIO_API_KEY"),
    ],
)
def test_it_says_why_it_cannot_begin(
    run: RunCommand, out: Path, variables: dict[str, str], says: str
) -> None:
    result = run(**variables)

    assert result.exit_code == 2
    assert says in result.output
    assert not out.exists()


def test_ctrl_c_leaves_nothing_behind(
    studio: LabelStudioStandIn,
    project_id: int,
    run: RunCommand,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (task_id,) = studio.add_tasks(project_id, upload(1))
    studio.annotate(task_id, [region(MASK)])

    def press(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("backend.cli.export.ProgressBar.show", press)
    result = run()

    assert result.exit_code == 130
    assert "Interrupted" in result.output
    assert list(out.parent.iterdir()) == []
