import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.feedback.types import (
    Correction,
    RegionOutcome,
    TaughtHeads,
    moment_us,
)

names = st.text(max_size=20).filter(
    lambda t: not any("\ud800" <= c < "\ue000" for c in t)
)
counts = st.integers(0, 10**9)
outcomes = st.builds(
    RegionOutcome,
    label=names,
    kind=st.sampled_from(["accepted", "corrected", "deleted", "drawn", "relabelled"]),
    iou=st.floats(0, 1),
    added_px=counts,
    removed_px=counts,
    label_before=st.none() | names,
)
corrections = st.builds(
    Correction,
    project=names,
    task=names,
    annotation=counts,
    updated_at=names,
    outcomes=st.lists(outcomes, max_size=3).map(tuple),
    examples=st.lists(st.binary(max_size=50), max_size=3).map(tuple),
    is_pending=st.booleans(),
    model=names,
    image_digests=st.lists(names, max_size=3).map(tuple),
    lead_time_s=st.none() | st.floats(0, 1e6),
    had_predictions=st.booleans(),
)


@given(corrections)
def test_a_correction_comes_back_from_its_bytes(correction: Correction) -> None:
    assert Correction.from_bytes(correction.to_bytes()) == correction


@given(st.binary(max_size=50), counts, names)
def test_heads_come_back_from_their_bytes(data: bytes, count: int, name: str) -> None:
    heads = TaughtHeads(version=count, data=data, n_corrections=count, made_at=name)

    assert TaughtHeads.from_bytes(heads.to_bytes()) == heads


@given(corrections, st.data())
def test_damaged_bytes_are_refused_or_read_as_a_correction(
    correction: Correction, data: st.DataObject
) -> None:
    packed = bytearray(correction.to_bytes())
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] = data.draw(st.integers(0, 255))

    for damaged in (bytes(packed), bytes(packed[:at])):
        try:
            found = Correction.from_bytes(damaged)
        except ValueError:
            continue
        assert found.rank < 1 << 53


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2026-11-28T21:54:00.123456Z", "2026-11-28T21:54:00.123457Z"),
        # An hour later, in a time zone two hours behind.
        ("2026-11-28T21:54:00Z", "2026-11-28T20:54:00-02:00"),
        ("", "1970-01-01T00:00:01"),
        ("no time", "2026-11-28T21:54:00"),
    ],
)
def test_moments_are_compared_in_time_not_as_text(earlier: str, later: str) -> None:
    assert moment_us(earlier) < moment_us(later) < 1 << 52


def test_a_whole_correction_outranks_a_pending_one_of_the_same_moment_only() -> None:
    def rank(updated_at: str, *, is_pending: bool) -> int:
        return Correction(
            project="1",
            task="2",
            annotation=3,
            updated_at=updated_at,
            is_pending=is_pending,
        ).rank

    then, later = "2026-11-28T21:54:00Z", "2026-11-28T21:54:00.000001Z"
    assert rank(then, is_pending=True) < rank(then, is_pending=False)
    assert rank(then, is_pending=False) < rank(later, is_pending=True)
