from typing import Any

import pytest

from backend.errors import BadLabelConfig
from backend.label_config.attributes import (
    EXAMPLE,
    is_asked_for,
    is_skipped,
    is_smart,
    read_cut_options,
    read_label,
    read_mode,
    unknown_attributes,
)
from backend.types import CutOptions, Label

DEFAULTS = CutOptions(threshold_01=0.6)


def cut(**attributes: str) -> CutOptions:
    return read_cut_options(attributes, DEFAULTS, "<BrushLabels name='tag'>")


def test_read_cut_options_keeps_the_defaults_for_what_is_not_said() -> None:
    assert cut(name="tag", toName="image", model_overlap=" ") == DEFAULTS


def test_read_cut_options_reads_every_attribute() -> None:
    assert cut(
        model_score_threshold="0.4",
        model_overlap="independent",
        model_regions="part",
        model_min_area="0.01",
        model_max_regions="7",
        model_polygon_tolerance="0.005",
        model_boundaries="guided",
        model_presence_threshold="1",
    ) == CutOptions(
        threshold_01=0.4,
        overlap="independent",
        regions="part",
        min_area_01=0.01,
        max_regions=7,
        polygon_tolerance_01=0.005,
        boundaries="guided",
        presence_threshold_01=1.0,
    )


def test_read_mode_reads_it_or_keeps_the_default() -> None:
    where = "<BrushLabels name='tag'>"

    assert read_mode({"model_mode": " paper "}, "fast", where) == "paper"
    assert read_mode({"model_mode": ""}, "paper", where) == "paper"
    with pytest.raises(BadLabelConfig, match=r"quick.*BrushLabels.*fast or paper"):
        read_mode({"model_mode": "quick"}, "fast", where)


def test_read_cut_options_takes_the_other_spelling_of_the_threshold_last() -> None:
    assert cut(score_threshold="0.3").threshold_01 == 0.3
    both = cut(score_threshold="0.3", model_score_threshold="0.4")
    assert both.threshold_01 == 0.4


@pytest.mark.parametrize(
    ("attribute", "text", "remedy"),
    [
        ("model_score_threshold", "0", "between 0 and 1"),
        ("score_threshold", "70%", "between 0 and 1"),
        ("model_overlap", "some", "exclusive or independent"),
        ("model_regions", "parts", "label or part"),
        ("model_min_area", "1", "share of the image"),
        ("model_min_area", "-0.1", "share of the image"),
        ("model_max_regions", "0", "a whole number above 0"),
        ("model_max_regions", "1.5", "a whole number above 0"),
        ("model_max_regions", "²", "a whole number above 0"),
        ("model_polygon_tolerance", "0", "image's diagonal"),
        ("model_polygon_tolerance", "nan", "image's diagonal"),
        ("model_presence_threshold", "1.1", "probability from 0 to 1"),
        ("model_presence_threshold", "-0.1", "probability from 0 to 1"),
        ("model_boundaries", "on", "off or guided"),
    ],
)
def test_read_cut_options_names_attribute_value_place_and_remedy(
    attribute: str, text: str, remedy: str
) -> None:
    with pytest.raises(BadLabelConfig) as caught:
        cut(**{attribute: text})

    first_line = str(caught.value).splitlines()[0]
    assert f"{attribute}={text!r} on <BrushLabels name='tag'>" in first_line
    assert remedy in first_line
    assert str(caught.value).endswith(EXAMPLE)


@pytest.mark.parametrize(
    ("attributes", "prompts"),
    [
        pytest.param({"value": "cat"}, ("cat",), id="value"),
        pytest.param(
            {"value": "Katze", "predicted_values": "cat, kitten ,,cat"},
            ("cat", "kitten"),
            id="predicted_values",
        ),
        pytest.param(
            {"value": "x", "predicted_values": "cat", "model_prompt": "a dog, brown"},
            ("a dog, brown",),
            id="model_prompt-is-one-text-and-comes-first",
        ),
        pytest.param(
            {"value": "cat", "predicted_values": " , ", "model_prompt": " "},
            ("cat",),
            id="blank",
        ),
        pytest.param({"value": 7}, ("7",), id="number-in-dynamic-labels"),
    ],
)
def test_read_label_finds_the_prompts(
    attributes: dict[str, Any], prompts: tuple[str, ...]
) -> None:
    assert read_label("n", attributes, "here") == Label(name="n", prompts=prompts)


def test_read_label_has_none_where_nothing_is_readable() -> None:
    assert read_label("\u200b", {"value": "\u200b"}, "here") is None


@pytest.mark.parametrize("text", ["true", "True", " 1 ", "yes", "on"])
def test_is_skipped_takes_what_people_write_for_yes(text: str) -> None:
    assert is_skipped({"model_skip": text})


@pytest.mark.parametrize("text", ["false", "0", "no", ""])
def test_is_skipped_takes_the_rest_for_no(text: str) -> None:
    assert not is_skipped({"model_skip": text})
    assert not is_skipped({})


def test_unknown_attributes_suggests_no_name_that_is_unknown_as_well() -> None:
    # Two attributes of ours do not begin with "model_".
    assert unknown_attributes([{"model_alias": "x"}]) == ["model_alias"]
    (found,) = unknown_attributes([{"model_promt": "x"}])
    assert found == "model_promt (did you mean model_prompt?)"


@pytest.mark.parametrize(
    "name",
    ["model_path", "model_obb", "model_conf", "model_iou", "model_add_bboxes"],
)
def test_unknown_attributes_names_those_of_other_backends(name: str) -> None:
    (found,) = unknown_attributes([{name: "x"}])

    assert found.startswith(f"{name} (another backend's; ")
    assert "did you mean" not in found


def test_is_asked_for_takes_a_no_that_is_written() -> None:
    assert is_asked_for({"model_skip": " False "})
    assert not is_asked_for({"model_skip": "true"})
    assert not is_asked_for({})


@pytest.mark.parametrize(
    ("attributes", "smart"),
    [
        ({"smart": "true"}, True),
        ({"smartonly": "true"}, True),
        ({"smart": "false"}, False),
        ({}, False),
    ],
)
def test_is_smart_wants_it_written(attributes: dict[str, str], smart: bool) -> None:
    assert is_smart(attributes) is smart
