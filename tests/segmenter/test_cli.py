import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from segmenter.cli import main, segment_picture

app = typer.Typer()
app.command()(segment_picture)


@pytest.fixture
def photo(tmp_path: Path, picture: NDArray[np.uint8]) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(picture).save(path)
    return path


def run(model_dir: Path, *arguments: str | Path) -> Result:
    """The command with the tiny model; a failure must be an exit, not an exception."""
    whole = [*map(str, arguments), "--model", str(model_dir), "--device", "cpu"]
    if "--presence" not in whole:
        whole += ["--presence", "off"]
    result = CliRunner().invoke(app, whole)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def line_of(result: Result, label: str) -> str:
    (line,) = (line for line in result.stdout.splitlines() if label in line)
    return line


def test_an_overlay_of_the_picture_s_size_is_written(
    model_dir: Path, photo: Path, tmp_path: Path, picture: NDArray[np.uint8]
) -> None:
    out = tmp_path / "new" / "overlay.png"

    result = run(model_dir, photo, "cat", "dog", "--out", out)

    assert result.exit_code == 0, result.output
    assert str(out) in result.stdout
    with Image.open(out) as overlay:
        painted = np.asarray(overlay)
    assert painted.shape == picture.shape
    assert (painted != picture).any()


def test_every_label_has_a_line_with_score_share_and_presence(
    model_dir: Path, photo: Path, tmp_path: Path
) -> None:
    result = run(
        model_dir, photo, "cat", "traffic light", "--out", tmp_path / "overlay.png"
    )

    for label in ("cat", "traffic light"):
        square, *_, presence, score, share, painted = line_of(result, label).split()
        assert square == "■"
        assert presence == "-"
        assert 0 <= float(score) <= 1
        assert share.endswith("%")
        assert 0 <= float(share[:-1]) <= 100
        assert painted == ("yes" if float(share[:-1]) > 0 else "no")


def test_a_threshold_that_no_score_passes_leaves_nothing_painted(
    model_dir: Path, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "overlay.png"

    low = run(model_dir, photo, "cat", "--out", out, "--threshold", "0.01")
    high = run(model_dir, photo, "cat", "--out", out, "--threshold", "0.99")

    def share(result: Result) -> float:
        return float(line_of(result, "cat").split()[-2].rstrip("%"))

    assert share(low) > 50 > share(high)


def test_clicks_and_boxes_correct_the_first_label_s_mask(
    model_dir: Path, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "overlay.png"

    def share(*arguments: str) -> float:
        result = run(
            model_dir,
            *(photo, "cat", "dog", "--out", out, "--threshold", "0.95"),
            *arguments,
        )
        assert result.exit_code == 0, result.output
        return float(line_of(result, "cat").split()[-2].rstrip("%"))

    alone = share()
    more = share("--click", "60,8", "--click", "4.5,40.5")
    box = share("--box", "0,0,72,48")
    less = share("--box", "0,0,72,48", "--click", "-60,20")

    assert box > alone
    assert more > alone
    assert less < box


def test_a_click_holds_in_the_overlay(
    model_dir: Path, photo: Path, tmp_path: Path, picture: NDArray[np.uint8]
) -> None:
    out = tmp_path / "overlay.png"

    run(
        model_dir,
        *(photo, "cat", "--out", out, "--threshold", "0.95"),
        *("--click", "60.5,8.5", "--click=-3,44"),
    )

    with Image.open(out) as overlay:
        painted = np.asarray(overlay)
    assert (painted[8, 60] != picture[8, 60]).any()
    np.testing.assert_array_equal(painted[44, 3], picture[44, 3])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--click", "12"], "'12' cannot be read: a click is X,Y or -X,Y"),
        (["--click", "nan,2"], "'nan,2' cannot be read: a click is X,Y or -X,Y"),
        (["--click", "a,b"], "'a,b' cannot be read: a click is X,Y or -X,Y"),
        (["--click", "5,-2"], "row -2 and column 5 of an image of 48 rows"),
        (["--click", "-72,5"], "row 5 and column 72 of an image of 48 rows"),
        (["--box", "1,2,3"], "'1,2,3' cannot be read: a box is X0,Y0,X1,Y1"),
        (["--box", "9,2,3,4"], "'9,2,3,4' cannot be read: a box is X0,Y0,X1,Y1"),
        (["--box", "80,2,90,4"], "holds nothing of an image of 48 rows"),
    ],
)
def test_a_click_or_box_that_cannot_be_meant_is_refused(
    model_dir: Path, photo: Path, tmp_path: Path, arguments: list[str], told: str
) -> None:
    out = tmp_path / "overlay.png"

    result = run(model_dir, photo, "cat", "--out", out, *arguments)

    assert result.exit_code == 1
    assert told in " ".join(result.stderr.split())
    assert not out.exists()


@pytest.mark.parametrize("label", ["[red]cat", "[/]", r"cat\[b]", ":cat:", "猫", "{}"])
def test_a_label_is_printed_as_it_is(
    model_dir: Path, photo: Path, tmp_path: Path, label: str
) -> None:
    result = run(model_dir, photo, label, "--out", tmp_path / "overlay.png")

    assert result.exit_code == 0, result.output
    assert label in result.stdout


def test_presence_and_captions_can_be_switched(
    model_dir: Path, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "overlay.png"

    paper = run(
        model_dir, photo, "cat", "--out", out, "--presence", "paper", "--no-caption"
    )
    captioned = run(model_dir, photo, "cat", "--out", out, "--caption")

    assert paper.exit_code == captioned.exit_code == 0, paper.output


def test_a_label_that_is_not_in_the_picture_enough_is_not_painted(
    model_dir: Path, photo: Path, tmp_path: Path
) -> None:
    arguments = [model_dir, photo, "cat", "dog", "--out", tmp_path / "overlay.png"]
    calibrated = ["--presence", "calibrated"]

    sure = run(*arguments, *calibrated, "--presence-threshold", "1")
    easy = run(*arguments, *calibrated, "--presence-threshold", "0")

    for label in ("cat", "dog"):
        *_, presence, score, share, painted = line_of(sure, label).split()
        assert 0 < float(presence) < 1
        assert (score, share, painted) == ("0.00", "0.0%", "no")
    assert {line_of(easy, label).split()[-1] for label in ("cat", "dog")} == {"yes"}


def test_the_mode_and_the_edges_reach_the_overlay(
    model_dir: Path, photo: Path, tmp_path: Path
) -> None:
    pictures = set()
    for name, *arguments in (
        ("a.png",),
        ("b.png", "--mode", "paper"),
        ("c.png", "--boundaries", "off"),
        ("d.png", "--mode", "paper", "--as-published"),
    ):
        result = run(model_dir, photo, "cat", "--out", tmp_path / name, *arguments)
        assert result.exit_code == 0, result.output
        pictures.add((tmp_path / name).read_bytes())

    assert len(pictures) == 4


def test_a_turned_photo_is_painted_upright(
    model_dir: Path, tmp_path: Path, picture: NDArray[np.uint8]
) -> None:
    turned, out = tmp_path / "turned.jpg", tmp_path / "overlay.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.fromarray(picture).save(turned, exif=exif)

    result = run(model_dir, turned, "cat", "--out", out)

    assert result.exit_code == 0, result.output
    with Image.open(out) as overlay:
        assert overlay.size == (48, 72)


def fails(result: Result, message: str) -> None:
    assert result.exit_code == 1
    # Rich wraps lines; words are what counts.
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_pixels_under_full_transparency_are_not_painted(
    model_dir: Path, tmp_path: Path, picture: NDArray[np.uint8]
) -> None:
    """As the backend has it: a browser shows the page behind them."""
    cutout, white = tmp_path / "cutout.png", tmp_path / "white.png"
    alpha = np.full((*picture.shape[:2], 1), 255, np.uint8)
    alpha[:, :30] = 0
    Image.fromarray(np.concatenate([picture, alpha], axis=2)).save(cutout)
    shown = picture.copy()
    shown[:, :30] = 255
    Image.fromarray(shown).save(white)

    for path in (cutout, white):
        result = run(model_dir, path, "cat", "--out", path.with_suffix(".out.png"))
        assert result.exit_code == 0, result.output

    of_cutout, of_white = (
        path.with_suffix(".out.png").read_bytes() for path in (cutout, white)
    )
    assert of_cutout == of_white


def test_16_bit_grey_keeps_its_shades(
    model_dir: Path, tmp_path: Path, picture: NDArray[np.uint8]
) -> None:
    deep, flat = tmp_path / "deep.png", tmp_path / "flat.png"
    grey = picture[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(deep)
    Image.fromarray(grey).save(flat)

    for path in (deep, flat):
        result = run(model_dir, path, "cat", "--out", path.with_suffix(".out.png"))
        assert result.exit_code == 0, result.output

    of_deep, of_flat = (
        path.with_suffix(".out.png").read_bytes() for path in (deep, flat)
    )
    assert of_deep == of_flat


def test_a_picture_that_ends_early_is_segmented_and_named(
    model_dir: Path, tmp_path: Path, picture: NDArray[np.uint8]
) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(picture).save(path)
    path.write_bytes(path.read_bytes()[:-40])

    result = run(model_dir, path, "cat", "--out", tmp_path / "overlay.png")

    assert result.exit_code == 0, result.output
    words = " ".join(result.stderr.split())
    assert "ends before its image does; what is there is segmented." in words


def test_a_missing_picture_is_named(model_dir: Path, tmp_path: Path) -> None:
    fails(run(model_dir, tmp_path / "none.png", "cat"), "There is no file")


def test_a_file_that_is_no_picture_is_named(model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("not a picture")

    fails(
        run(model_dir, path, "cat"),
        "cannot be read. The 13 bytes are not an image of a known format",
    )


def test_a_picture_too_large_to_decode_is_refused(
    model_dir: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)

    fails(run(model_dir, photo, "cat"), "too many pixels: 3456")


def test_the_published_way_is_paper_mode_s_alone(model_dir: Path, photo: Path) -> None:
    fails(run(model_dir, photo, "cat", "--as-published"), "it is paper mode's")


def test_a_blank_label_is_refused(model_dir: Path, photo: Path) -> None:
    fails(run(model_dir, photo, "cat", " "), "holds no character")


def test_a_model_that_is_not_there_is_refused(photo: Path, tmp_path: Path) -> None:
    fails(run(tmp_path / "no-model", photo, "cat"), "cannot be loaded")


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_named(
    model_dir: Path, photo: Path, device: str
) -> None:
    result = CliRunner().invoke(
        app, [str(photo), "cat", "--model", str(model_dir), "--device", device]
    )

    fails(result, f"The model cannot run on device '{device}'")
    fails(result, "Give --device auto, or cpu.")


def test_a_model_s_fault_is_not_the_device_s(
    model_dir: Path, photo: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(model_dir, tmp_path / "torn")
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    del tensors["conv_in.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})

    result = run(model, photo, "cat")

    fails(result, "lack conv_in.weight")
    assert "--device" not in result.stderr


def test_an_overlay_format_that_pillow_does_not_know_is_refused(
    model_dir: Path, photo: Path, tmp_path: Path
) -> None:
    fails(
        run(model_dir, photo, "cat", "--out", tmp_path / "overlay.nothing"),
        "unknown file extension",
    )


# `python -m segmenter` itself is run in test_pocket.py.
def test_main_shows_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["segmenter", "--help"])

    with pytest.raises(SystemExit) as ended:
        main()

    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert "LABELS" in told
    assert "--threshold" in told
