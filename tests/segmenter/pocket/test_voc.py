import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segmenter.evaluation.voc_folder import open_voc_folder
from segmenter.pocket.scenes import TEST_SEED_START, render_scene
from segmenter.pocket.voc import main, write_voc_folder


def test_scenes_of_the_test_split_come_back_with_their_truth(tmp_path: Path) -> None:
    write_voc_folder(tmp_path / "new", n_scenes=3, size_yx=(64, 96), n_objects=2)

    folder = open_voc_folder(tmp_path / "new")

    assert folder.names == tuple(str(TEST_SEED_START + i) for i in range(3))
    for name in folder.names:
        scene = render_scene(int(name), n_objects=2, size_yx=(64, 96))
        np.testing.assert_array_equal(folder.read_image(name), scene.image)
        np.testing.assert_array_equal(folder.read_truth(name), scene.class_map)


def test_the_command_line_reads_rows_before_columns(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "segmenter.pocket.voc", str(tmp_path)]
    options = ["--scenes", "2", "--size", "40x70", "--first-seed", "7"]

    done = subprocess.run(
        [*command, *options, "--objects", "1"],
        capture_output=True,
        text=True,
        check=True,
    )

    folder = open_voc_folder(tmp_path)
    assert folder.names == ("7", "8")
    assert folder.read_image("7").shape == (40, 70, 3)
    assert len(np.unique(folder.read_truth("8"))) == 2
    assert f"diffsegmenter evaluate {tmp_path} --classes pocket" in done.stdout


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        ("--size", "40", "128x128"),
        ("--size", "0x70", "128x128"),
        ("--size", "40x", "128x128"),
        ("--size", "axb", "128x128"),
        ("--scenes", "0", "of 1 or more"),
        ("--scenes", "some", "of 1 or more"),
        ("--objects", "25", "from 1 to 24"),
        ("--first-seed", "-1", "of 0 or more"),
    ],
)
def test_what_cannot_be_rendered_is_refused_with_value_and_remedy(
    tmp_path: Path,
    option: str,
    value: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["voc", str(tmp_path), f"{option}={value}"])

    with pytest.raises(SystemExit):
        main()

    told = " ".join(capsys.readouterr().err.split())
    assert repr(value) in told
    assert remedy in told
    assert list(tmp_path.iterdir()) == []
