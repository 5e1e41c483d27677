from dataclasses import fields, replace
from typing import Any

import pytest

from segmenter.options import SegmenterOptions

# Another valid value for every field.
OTHER = {
    "timestep": 300,
    "seed": 1,
    "latent": "sample",
    "template": "a photo of {label}",
    "caption": False,
    "emphasis": 1.0,
    "read_participle": False,
    "level_weights": (0.3, 0.5, 0.1, 0.0),
    "self_attention_products": 0,
    "presence": "paper",
    "image_similarity": 0.9,
    "text_similarity": 0.7,
    "threshold": 0.4,
    "labels_per_pass": 1,
}
# "paper" is the only mode yet.
ONE_VALUE_ONLY = {"mode"}


def test_other_values_cover_every_field() -> None:
    names = {field.name for field in fields(SegmenterOptions)}

    assert OTHER.keys() | ONE_VALUE_ONLY == names


@pytest.mark.parametrize(
    "name", sorted(OTHER.keys() - {"threshold", "labels_per_pass"})
)
def test_fingerprints_change_with_what_changes_a_score_map(name: str) -> None:
    default = SegmenterOptions()

    other = replace(default, **{name: OTHER[name]})

    assert other.maps_fingerprint() != default.maps_fingerprint()
    assert other.fingerprint() != default.fingerprint()


def test_threshold_changes_the_masks_and_not_the_score_maps() -> None:
    default, other = SegmenterOptions(), SegmenterOptions(threshold=0.4)

    assert other.maps_fingerprint() == default.maps_fingerprint()
    assert other.fingerprint() != default.fingerprint()


def test_labels_per_pass_changes_neither() -> None:
    default, other = SegmenterOptions(), SegmenterOptions(labels_per_pass=1)

    assert other.maps_fingerprint() == default.maps_fingerprint()
    assert other.fingerprint() == default.fingerprint()


def test_fingerprints_are_12_hex_digits_and_repeat() -> None:
    found = SegmenterOptions().fingerprint()

    assert len(found) == 12
    assert int(found, 16) >= 0
    assert SegmenterOptions().fingerprint() == found
    assert SegmenterOptions().maps_fingerprint() != found


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("mode", "quick", "paper"),
        ("latent", "median", "'mean' or 'sample'"),
        ("presence", "on", "'off' or 'paper'"),
        ("timestep", -1, "0 to 999"),
        ("timestep", 1000, "0 to 999"),
        ("template", "a photo", "{label} once"),
        ("template", "{label} and {label}", "{label} once"),
        ("level_weights", (), "0 or more"),
        ("level_weights", (0.3, -0.1), "0 or more"),
        ("level_weights", (0.0, 1.0), "first above 0"),
        ("self_attention_products", -1, "below 0"),
        ("threshold", 0.0, "between 0 and 1"),
        ("threshold", 1.0, "between 0 and 1"),
        ("threshold", NAN, "between 0 and 1"),
        ("labels_per_pass", 0, "below 1"),
        # The presence filter divides by these two.
        ("image_similarity", 0.0, "above 0 and up to 1"),
        ("image_similarity", 1.01, "above 0 and up to 1"),
        ("text_similarity", 0.0, "above 0 and up to 1"),
        ("text_similarity", NAN, "above 0 and up to 1"),
        ("emphasis", 0.0, "above 0"),
        ("emphasis", NAN, "above 0"),
        ("emphasis", float("inf"), "above 0"),
        ("level_weights", (0.3, NAN), "0 or more"),
    ],
)
def test_an_impossible_value_is_refused_with_value_and_limit(
    name: str, value: Any, limit: str
) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        SegmenterOptions(**{name: value})

    assert (repr(value) if isinstance(value, str) else str(value)) in str(caught.value)
    assert limit in str(caught.value)


def test_all_impossible_values_are_named_at_once() -> None:
    with pytest.raises(ValueError, match="timestep is 5000") as caught:
        SegmenterOptions(timestep=5000, threshold=2.0, labels_per_pass=0, template="")

    message = str(caught.value)
    assert message.count(";") >= 3
    for name in ("timestep", "threshold", "labels_per_pass", "template"):
        assert f"{name} is" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timestep", 0),
        ("timestep", 999),
        ("level_weights", (1.0,)),
        ("threshold", 0.001),
        ("image_similarity", 1.0),
        ("seed", 2**40),
    ],
)
def test_a_value_at_its_limit_is_taken(name: str, value: Any) -> None:
    assert getattr(SegmenterOptions(**{name: value}), name) == value
