from typing import Any

import pytest

from backend.label_config.task_data import read_value, refers_to_data

DATA = {
    "image": "/a.png",
    "a.b": "dotted",
    "pages": ["1.png", "2.png"],
    "deep": {"list": [{"url": "3.png"}]},
    "none": None,
    "number": 7,
}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param("$image", "/a.png", id="key"),
        pytest.param("$pages", ["1.png", "2.png"], id="list"),
        pytest.param("$pages[1]", "2.png", id="entry"),
        pytest.param("$deep.list[0].url", "3.png", id="path"),
        pytest.param("$a.b", "dotted", id="key-that-looks-like-a-path"),
        pytest.param("$pages[2]", None, id="beyond-the-list"),
        pytest.param("$pages.first", None, id="name-in-a-list"),
        pytest.param("$image.url", None, id="name-in-a-text"),
        pytest.param("$missing", None, id="missing"),
        pytest.param("$none", None, id="null"),
        pytest.param("$number", 7, id="number"),
        pytest.param("https://host/$number.png", "https://host/", id="greedy-path"),
        pytest.param("https://host/$number?x", "https://host/7?x", id="template"),
        pytest.param("$image-$number", "/a.png-7", id="two-references"),
        pytest.param("$image and $missing", "/a.png and ", id="missing-in-a-template"),
        pytest.param("plain", "plain", id="no-reference"),
    ],
)
def test_read_value_follows_the_editors_rule(value: str, found: Any) -> None:
    assert read_value(value, DATA) == found


@pytest.mark.parametrize(
    ("value", "refers"),
    [("$image", True), ("x/$a.png", True), ("$", False), ("a.png", False), ("", False)],
)
def test_refers_to_data_looks_for_a_name_behind_a_dollar(
    value: str, refers: bool
) -> None:
    assert refers_to_data(value) is refers
