"""What is left of sums without an example, against sums that never had it."""

import numpy as np

from segmenter import Example
from segmenter.heads.moments import Moments
from tests.segmenter.heads.planted import LABELS, examples


def test_directions_without_an_example_are_those_of_all_others() -> None:
    # As few as there are folds, so that each has its own variance left out.
    some = examples()
    left_out = [(number, row) for number in (5, 0, 2) for row in (1, 0)]

    directions, offsets = Moments(some, LABELS).directions_without(left_out)

    for place, (number, row) in enumerate(left_out):
        others = Moments([*some[:number], *some[number + 1 :]], LABELS)
        expected, expected_offsets = others.directions()
        np.testing.assert_allclose(directions[place], expected[row], atol=1e-4)
        np.testing.assert_allclose(offsets[place], expected_offsets[row], atol=1e-3)


def test_nothing_is_left_out_of_nothing() -> None:
    directions, offsets = Moments(examples(), LABELS).directions_without([])

    assert directions.shape[0] == offsets.shape[0] == 0


def test_an_example_that_was_read_keeps_its_bytes() -> None:
    packed = examples()[0].to_bytes()

    assert Example.from_bytes(packed).to_bytes() is packed
