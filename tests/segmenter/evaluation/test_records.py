import json
from dataclasses import replace
from pathlib import Path

import pytest

from segmenter.evaluation.errors import OtherRun
from segmenter.evaluation.records import Failure, ImageRecord, open_records

RUN = {"split": "val", "options": {"threshold": 0.46, "weights": (0.5, 0.5)}}
FIRST = ImageRecord(
    name="Élan 1",
    seconds=0.25,
    asked=[1, 2],
    presence=[0.5, 0.125],
    shown=[2],
    iou=[[0, 0, 12], [2, 2, 3]],
    sweep=[[2, 7, 3, 3, 0]],
    boundaries=[[2, 1, 2, 1, 2]],
)
SECOND = replace(FIRST, name="2", shown=[], boundaries=[])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "evaluation.jsonl"


@pytest.fixture
def written(path: Path) -> Path:
    records = open_records(path, RUN)
    records.append(FIRST)
    records.append(SECOND)
    return path


def test_records_come_back_as_they_were_written(path: Path) -> None:
    records = open_records(path, RUN)

    records.append(FIRST)
    records.append(SECOND)

    assert list(records.counted()) == [FIRST, SECOND]


def test_work_comes_back_and_lines_from_before_it_could_be_counted_are_read(
    written: Path,
) -> None:
    third = replace(FIRST, name="3", work=[[2, 1, 1, 0, 0, 0, 0, 4, 20, 0]])
    open_records(written, RUN).append(third)
    text = written.read_text()
    written.write_text(text.replace(',"work":null', ""))
    assert written.read_text() != text

    assert list(open_records(written, RUN).counted()) == [FIRST, SECOND, third]


def test_the_first_line_says_which_run_it_is(written: Path) -> None:
    first, *others = written.read_text().splitlines()

    assert json.loads(first)["run"]["options"]["threshold"] == 0.46
    assert [json.loads(line)["name"] for line in others] == ["Élan 1", "2"]


def test_the_same_run_goes_on_where_it_was(written: Path) -> None:
    records = open_records(written, RUN)
    records.append(replace(FIRST, name="3"))

    assert [record.name for record in records.counted()] == ["Élan 1", "2", "3"]
    assert [path.name for path in written.parent.iterdir()] == [written.name]


@pytest.mark.parametrize("cut_bytes", [1, 2, 30])
def test_a_half_written_last_line_is_dropped(written: Path, cut_bytes: int) -> None:
    written.write_bytes(written.read_bytes()[:-cut_bytes])

    records = open_records(written, RUN)
    records.append(replace(FIRST, name="3"))

    assert [record.name for record in records.counted()] == ["Élan 1", "3"]


@pytest.mark.parametrize("content", [b"", b'{"run":{"split"'])
def test_a_file_without_a_whole_line_is_begun_anew(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)

    records = open_records(path, RUN)
    records.append(FIRST)

    assert list(open_records(path, RUN).counted()) == [FIRST]


def test_a_failure_is_on_record_and_tried_again_by_the_next_run(path: Path) -> None:
    records = open_records(path, RUN)
    records.append(Failure(name="broken", reason="There is no file."))
    records.append(FIRST)
    assert "There is no file." in path.read_text()
    assert list(records.counted()) == [FIRST]

    open_records(path, RUN)

    assert "broken" not in path.read_text()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({**RUN, "split": "test"}, 'split was "val" and is "test" now'),
        (
            {**RUN, "options": {"threshold": 0.5, "weights": (0.5, 0.5)}},
            "options threshold was 0.46 and is 0.5 now",
        ),
        ({**RUN, "labels": "all"}, 'labels was null and is "all" now'),
        ({"split": "val"}, "options was .* and is null now"),
    ],
)
def test_records_of_another_run_are_refused_and_kept(
    written: Path, other: dict[str, object], message: str
) -> None:
    before = written.read_bytes()

    with pytest.raises(OtherRun, match=message) as caught:
        open_records(written, other)

    assert "another --out, or --restart" in str(caught.value)
    assert "weights was" not in str(caught.value)
    assert written.read_bytes() == before


def test_a_run_in_which_no_image_was_counted_hinders_no_other(path: Path) -> None:
    open_records(path, RUN).append(Failure(name="a", reason="There is no file."))

    records = open_records(path, {"split": "test"})

    assert list(records.counted()) == []
    assert path.read_text() == '{"run":{"split":"test"}}\n'


def test_a_restart_forgets_whatever_was_there(written: Path) -> None:
    written.write_text("not records\n")

    records = open_records(written, RUN, restart=True)

    assert list(records.counted()) == []
    assert list(open_records(written, RUN).counted()) == []


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"name":"x"}', '{"run":{}}', ""])
def test_a_damaged_line_is_named_and_nothing_is_lost(written: Path, line: str) -> None:
    head, first, second = written.read_text().splitlines()
    text = "\n".join([head, first, line, second, ""])
    written.write_text(text)

    with pytest.raises(OtherRun, match=r"line 3 is"):
        open_records(written, RUN)

    assert written.read_text() == text
    assert [path.name for path in written.parent.iterdir()] == [written.name]


@pytest.mark.parametrize("content", [b'{"run":3}\n', b'{"a":1}\n', b"\xff\xd8\n"])
def test_a_file_of_something_else_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(OtherRun, match="--restart"):
        open_records(path, RUN)
