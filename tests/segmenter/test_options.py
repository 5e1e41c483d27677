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
    "caption": True,
    "aspect": "squash",
    "max_windows": 4,
    "background_words": ("sky",),
    "competition": False,
    "start_token": False,
    "separator": " ",
    "stretched": False,
    "self_attention_layers": "all",
    "boundaries": "off",
    "presence_threshold": 0.7,
    "images_per_pass": 1,
    "mode": "paper",
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
# The same for fields that fast mode refuses.
OTHER_IN_PAPER_MODE = {"as_published": True}
AFTER_THE_MAPS = {"threshold", "boundaries", "presence_threshold"}
NO_EFFECT = {"labels_per_pass", "images_per_pass"}


def test_other_values_cover_every_field() -> None:
    names = {field.name for field in fields(SegmenterOptions)}

    assert OTHER.keys() | OTHER_IN_PAPER_MODE.keys() == names


@pytest.mark.parametrize("name", sorted(OTHER.keys() - AFTER_THE_MAPS - NO_EFFECT))
def test_fingerprints_change_with_what_changes_a_score_map(name: str) -> None:
    default = SegmenterOptions()

    other = replace(default, **{name: OTHER[name]})

    assert other.maps_fingerprint() != default.maps_fingerprint()
    assert other.fingerprint() != default.fingerprint()


@pytest.mark.parametrize("name", sorted(AFTER_THE_MAPS))
def test_what_comes_after_the_maps_changes_masks_alone(name: str) -> None:
    default, other = SegmenterOptions(), SegmenterOptions(**{name: OTHER[name]})

    assert other.maps_fingerprint() == default.maps_fingerprint()
    assert other.fingerprint() != default.fingerprint()


def test_in_paper_mode_the_presence_threshold_decides_what_maps_are_made() -> None:
    default = SegmenterOptions(mode="paper")
    other = SegmenterOptions(mode="paper", presence_threshold=0.7)

    assert other.maps_fingerprint() != default.maps_fingerprint()


@pytest.mark.parametrize("name", sorted(NO_EFFECT))
def test_the_size_of_a_pass_changes_neither(name: str) -> None:
    default, other = SegmenterOptions(), SegmenterOptions(**{name: 1})

    assert other.maps_fingerprint() == default.maps_fingerprint()
    assert other.fingerprint() == default.fingerprint()


def test_a_mode_brings_its_own_defaults_and_takes_what_is_given() -> None:
    paper = SegmenterOptions(mode="paper", threshold=0.3)

    assert paper.caption
    assert paper.level_weights == (0.3, 0.5, 0.1, 0.1)
    assert paper.threshold == 0.3
    assert not SegmenterOptions().caption


def test_the_line_of_presence_is_its_filter_s_own_unless_it_is_given() -> None:
    lines = {
        presence: SegmenterOptions(presence=presence).presence_threshold
        for presence in ("off", "paper", "calibrated")
    }

    assert lines == {"off": 0.5, "paper": 0.5, "calibrated": 0.3}
    given = SegmenterOptions(presence="calibrated", presence_threshold=0.5)
    assert given.presence_threshold == 0.5


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
        ("mode", "quick", "fast, paper"),
        ("aspect", "crop", "'squash' or 'keep'"),
        ("boundaries", "sharp", "'off' or 'guided'"),
        ("self_attention_layers", "first", "'all' or 'decoder'"),
        ("background_words", ("sky", " "), "blank"),
        ("separator", "", "space or punctuation"),
        ("separator", " and ", "space or punctuation"),
        ("presence_threshold", 1.5, "0 to 1"),
        ("presence_threshold", NAN, "0 to 1"),
        ("images_per_pass", 0, "below 1"),
        ("max_windows", 0, "below 1"),
        ("latent", "median", "'mean' or 'sample'"),
        ("presence", "on", "'off' or 'paper' or 'calibrated'"),
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


# Where they change without need, all caches and predictions of users are void.
@pytest.mark.parametrize(
    ("options", "digest"),
    [
        (SegmenterOptions(), "6c9335ade0c0"),
        (SegmenterOptions(presence="off"), "aa823a083bff"),
        (SegmenterOptions(mode="paper"), "88462e77bc1b"),
        (SegmenterOptions(mode="paper", presence="paper"), "58c257baaa01"),
    ],
)
def test_maps_fingerprints_are_those_of_the_last_release(
    options: SegmenterOptions, digest: str
) -> None:
    assert options.maps_fingerprint() == digest


def test_fast_maps_by_the_paper_s_filter_are_told_from_those_that_lacked_labels() -> (
    None
):
    found = SegmenterOptions(presence="paper").maps_fingerprint()

    assert found != "9c5b950de274"


def test_as_published_samples_the_latent_and_is_another_map() -> None:
    published = SegmenterOptions(mode="paper", as_published=True)

    assert published.latent == "sample"
    assert (
        len(
            {
                published.maps_fingerprint(),
                SegmenterOptions(mode="paper").maps_fingerprint(),
                SegmenterOptions(mode="paper", latent="sample").maps_fingerprint(),
            }
        )
        == 3
    )
    with pytest.raises(ValueError, match="as_published is True in fast mode"):
        SegmenterOptions(as_published=True)
