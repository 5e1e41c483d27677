from typing import Any

import pytest

from backend.label_config.task_data import (
    fill_in,
    lacks_a_field,
    loose_end,
    read_value,
    refers_to_data,
)

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


def test_read_value_knows_letters_of_ascii_alone_as_the_editor_does() -> None:
    assert read_value("$képek", {"képek": "a.png", "k": "b.png"}) == "b.pngépek"


@pytest.mark.parametrize(
    ("value", "lacks"),
    [
        ("$image", False),
        ("$missing", True),
        ("https://host/$number?x", False),
        ("https://host/$missing?x", True),
        ("$image-$none", True),
        ("plain", False),
    ],
)
def test_lacks_a_field_looks_at_every_reference(value: str, lacks: bool) -> None:
    assert lacks_a_field(value, DATA) is lacks


@pytest.mark.parametrize(
    ("value", "field", "rest"),
    [
        pytest.param("$image-url", "image", "-url", id="dash"),
        pytest.param("$image url", "image", " url", id="blank"),
        pytest.param("$képek", "k", "épek", id="accent"),
        pytest.param("$meta.image-url", "meta.image", "-url", id="path"),
    ],
)
def test_loose_end_says_what_is_read_of_a_name_that_cannot_be_spelled(
    value: str, field: str, rest: str
) -> None:
    said = loose_end(value) or ""

    assert f'value="{value}" reads the field {field!r} and adds {rest!r}' in said
    assert "rename the field" in said


@pytest.mark.parametrize(
    "value",
    ["$image", "$pages[0].url", "$folder/$name-1.png", "https://h/$a-b", "$image?w=9"],
)
def test_loose_end_finds_nothing_wrong_with_a_template(value: str) -> None:
    assert loose_end(value) is None


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        pytest.param("$image", "/a.png", id="reference"),
        pytest.param("a $number of spades", "a 7 of spades", id="within"),
        pytest.param("$5 bill", "$5 bill", id="no-such-field"),
        pytest.param("$pages", "$pages", id="no-text"),
        pytest.param("cat", "cat", id="plain"),
    ],
)
def test_fill_in_takes_what_the_task_has(text: str, filled: str) -> None:
    assert fill_in(text, DATA) == filled
