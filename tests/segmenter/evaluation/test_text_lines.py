import codecs
from pathlib import Path

import pytest

from segmenter.evaluation.class_lists import load_class_list
from segmenter.evaluation.text_lines import read_lines


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"cat\nd o g\n", id="plain"),
        pytest.param(codecs.BOM_UTF8 + b"cat\nd o g", id="utf-8-mark"),
        pytest.param(
            codecs.BOM_UTF8 + b"cat\r\n" + codecs.BOM_UTF8 + b"d o g", id="joined"
        ),
        pytest.param("cat\r\nd o g\r\n".encode("utf-16"), id="utf-16"),
        pytest.param(
            codecs.BOM_UTF16_BE + "cat\nd o g".encode("utf-16-be"), id="utf-16-be"
        ),
        pytest.param(" \u200bcat\u00a0 \n\u2060 d o g\u200b".encode(), id="unseen"),
    ],
)
def test_read_lines_leaves_no_mark_that_nobody_sees(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)

    assert read_lines(path) == ["cat", "d o g"]


def test_read_lines_keeps_empty_lines_for_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("\n a\n\ufeff \nb\n")

    assert read_lines(path) == ["", "a", "", "b"]


def test_read_lines_refuses_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("café".encode("latin-1"))

    with pytest.raises(UnicodeDecodeError):
        read_lines(path)


def test_a_class_list_with_a_mark_begins_with_its_first_class(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(codecs.BOM_UTF8 + b"airplane\ncat\n")

    assert load_class_list(str(path)).names == ("background", "airplane", "cat")
