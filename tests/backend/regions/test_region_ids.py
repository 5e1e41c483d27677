import os
import string
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.regions.results import region_id
from tests.examples import at_most

identifying = st.none() | st.integers() | st.text() | st.booleans()


def test_region_id_is_the_same_in_another_process() -> None:
    script = (
        "from backend.regions.results import region_id;"
        "print(region_id(7, 'paint', 'Dog'))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345"}

    printed = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()

    assert printed == region_id(7, "paint", "Dog")


@settings(max_examples=at_most(300), deadline=None)
@given(first=st.lists(identifying), second=st.lists(identifying))
def test_region_id_differs_exactly_when_its_parts_do(first: list, second: list) -> None:
    identical = list(map(repr, first)) == list(map(repr, second))

    assert (region_id(*first) == region_id(*second)) is identical


def test_region_id_differs_for_every_region_of_a_big_project() -> None:
    ids = {
        region_id(task, control, label)
        for task in range(2_000)
        for control in ("paint", "brush")
        for label in ("Dog", "grass", "1", "11")
    }

    assert len(ids) == 2_000 * 2 * 4


@settings(max_examples=at_most(300), deadline=None)
@given(parts=st.lists(identifying))
def test_region_id_has_10_characters_that_need_no_escaping(parts: list) -> None:
    identity = region_id(*parts)

    assert len(identity) == 10
    assert set(identity) <= set(string.ascii_letters + string.digits + "-_")


def test_region_id_refuses_parts_without_a_stable_spelling() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        region_id(object())
