import json
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from backend.cache.codec import (
    MAX_CELLS,
    MAX_ERROR,
    MAX_LABELS,
    UnreadableScores,
    decode_score_maps,
    encode_score_maps,
)
from backend.types import MAX_PROMPTS

SCORES_01 = st.floats(0, 1, width=16)
PRESENCE = st.floats(width=32, allow_nan=False, allow_infinity=False)
SIZES = st.integers(1, 1 << 20)


@st.composite
def score_maps(draw: st.DrawFn) -> tuple[Any, Any, list[str], tuple[int, int]]:
    labels = draw(st.lists(st.text(max_size=8), min_size=1, max_size=3))
    grid = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    maps = draw(npst.arrays(np.float16, (len(labels), *grid), elements=SCORES_01))
    presence = draw(npst.arrays(np.float32, len(labels), elements=PRESENCE))
    return maps, presence, labels, draw(st.tuples(SIZES, SIZES))


def smooth_maps(labels: int, size_yx: tuple[int, int] = (64, 64)) -> NDArray[Any]:
    """Blurred noise stretched to [0, 1]: about as smooth as attention is."""
    noise = np.random.default_rng(7).normal(size=(labels, *size_yx))
    y = np.fft.fftfreq(size_yx[0])[:, None]
    x = np.fft.fftfreq(size_yx[1])[None]
    low_pass = np.exp(-2 * (np.pi * 4) ** 2 * (y * y + x * x))
    maps = np.fft.ifft2(np.fft.fft2(noise) * low_pass).real
    low = maps.min((1, 2), keepdims=True)
    high = maps.max((1, 2), keepdims=True)
    return ((maps - low) / (high - low)).astype(np.float16)


def encoded() -> bytes:
    presence = np.array([0.25, 1], np.float32)
    return encode_score_maps(smooth_maps(2, (6, 9)), presence, ["dog", "été"], (60, 90))


def sealed(header: bytes, payload: bytes) -> bytes:
    """An envelope with a right checksum around anything."""
    body = struct.pack("<I", len(header)) + header + payload
    return struct.pack("<4sBI", b"DSSM", 1, zlib.crc32(body)) + body


def header(**changes: Any) -> bytes:
    fields = {"labels": ["a"], "grid_yx": [2, 3], "size_yx": [20, 30]}
    return json.dumps(fields | changes).encode()


@given(score_maps())
def test_decode_returns_what_was_encoded_within_the_error(scores: Any) -> None:
    maps, presence, labels, size_yx = scores

    decoded = decode_score_maps(encode_score_maps(*scores))

    assert decoded.maps.dtype == np.float16
    assert decoded.maps.shape == maps.shape
    error = np.abs(decoded.maps.astype(np.float64) - maps.astype(np.float64))
    assert error.max() <= MAX_ERROR
    assert decoded.presence.dtype == np.float32
    np.testing.assert_array_equal(decoded.presence, presence)
    assert decoded.labels == tuple(labels)
    assert decoded.size_yx == size_yx


@given(score_maps())
def test_encoding_a_decoded_copy_changes_nothing_more(scores: Any) -> None:
    once = encode_score_maps(*scores)

    decoded = decode_score_maps(once)
    twice = encode_score_maps(
        decoded.maps, decoded.presence, decoded.labels, decoded.size_yx
    )

    assert twice == once


@given(st.data())
def test_decode_refuses_any_flipped_byte(data: st.DataObject) -> None:
    damaged = bytearray(encoded())
    where = data.draw(st.integers(0, len(damaged) - 1))

    damaged[where] ^= data.draw(st.integers(1, 255))

    with pytest.raises(UnreadableScores):
        decode_score_maps(bytes(damaged))


def test_decode_refuses_every_shorter_and_a_longer_value() -> None:
    whole = encoded()

    for value in [*(whole[:end] for end in range(len(whole))), whole + b"\0"]:
        with pytest.raises(UnreadableScores):
            decode_score_maps(value)


@given(st.binary(max_size=200))
def test_decode_refuses_arbitrary_bytes_with_one_error(value: bytes) -> None:
    with pytest.raises(UnreadableScores):
        decode_score_maps(value)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_decode_refuses_arbitrary_bytes_under_a_right_checksum(
    head: bytes, payload: bytes
) -> None:
    with pytest.raises(UnreadableScores):
        decode_score_maps(sealed(head, payload))


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"[" * 200_000, id="nested"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{}", id="empty"),
        pytest.param(header(labels=[1]), id="label-not-text"),
        pytest.param(header(labels=["a"] * (MAX_LABELS + 1)), id="labels-many"),
        pytest.param(header(grid_yx=[2]), id="grid-of-one"),
        pytest.param(header(grid_yx=[2, 0]), id="grid-zero"),
        pytest.param(header(grid_yx=[2, -3]), id="grid-negative"),
        pytest.param(header(grid_yx=[2, 3.0]), id="grid-float"),
        pytest.param(header(grid_yx=[2, True]), id="grid-bool"),
        pytest.param(header(grid_yx=[1 << 40, 3]), id="grid-huge"),
        pytest.param(header(labels=["a"] * 4000, grid_yx=[1024] * 2), id="cells-many"),
        pytest.param(header(size_yx=[0, 30]), id="size-zero"),
        pytest.param(header(size_yx=["20", 30]), id="size-text"),
        pytest.param(header(grid_yx=[3, 3]), id="grid-not-the-payload's"),
    ],
)
def test_decode_refuses_an_implausible_header(head: bytes) -> None:
    payload = zlib.compress(bytes(4 + 2 * 2 * 3))

    with pytest.raises(UnreadableScores):
        decode_score_maps(sealed(head, payload))


def test_decode_stops_a_zip_bomb_at_the_size_of_the_header() -> None:
    bomb = zlib.compress(bytes(50_000_000))

    tracemalloc.start()
    try:
        with pytest.raises(UnreadableScores, match="16 bytes"):
            decode_score_maps(sealed(header(), bomb))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 1_000_000


def test_decode_refuses_bytes_after_the_payload() -> None:
    payload = zlib.compress(bytes(16)) + b"more"

    with pytest.raises(UnreadableScores):
        decode_score_maps(sealed(header(), payload))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(struct.pack("<f", np.nan) + bytes(12), id="presence-nan"),
        pytest.param(bytes(4) + b"\xff" * 12, id="levels-over-1024"),
    ],
)
def test_decode_refuses_values_out_of_range(payload: bytes) -> None:
    with pytest.raises(UnreadableScores, match="range"):
        decode_score_maps(sealed(header(), zlib.compress(payload)))


def test_decoded_arrays_are_writable() -> None:
    decoded = decode_score_maps(encoded())

    decoded.maps[0, 0, 0] = 0.5
    decoded.presence[0] = 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"maps": np.zeros((2, 6), np.float16)}, "L, h, w", id="not-3d"),
        pytest.param({"labels": ["one"]}, "disagree", id="labels-few"),
        pytest.param({"presence": np.zeros(3)}, "disagree", id="presence-many"),
        pytest.param({"presence": np.zeros((2, 1))}, "disagree", id="presence-2d"),
        pytest.param({"presence": np.full(2, np.inf)}, "finite", id="infinite"),
        pytest.param({"maps": np.full((2, 6, 9), np.nan)}, r"\[0, 1\]", id="nan"),
        pytest.param({"maps": np.full((2, 6, 9), 1.5)}, r"\[0, 1\]", id="above-1"),
        pytest.param({"maps": np.full((2, 6, 9), -0.5)}, r"\[0, 1\]", id="below-0"),
        pytest.param({"maps": np.zeros((2, 0, 9))}, "grid", id="no-cells"),
        pytest.param({"size_yx": (0, 9)}, "image", id="no-rows"),
        pytest.param({"labels": ["a", "b" * (1 << 20)]}, "bytes", id="label-huge"),
    ],
)
def test_encode_refuses_what_no_decoder_would_take(
    changes: dict[str, Any], message: str
) -> None:
    scores: dict[str, Any] = {
        "maps": np.zeros((2, 6, 9), np.float16),
        "presence": np.zeros(2, np.float32),
        "labels": ["a", "b"],
        "size_yx": (60, 90),
    }

    with pytest.raises(ValueError, match=message) as refusal:
        encode_score_maps(**(scores | changes))

    assert not isinstance(refusal.value, UnreadableScores)


def test_maps_of_no_label_at_all_keep_grid_and_size() -> None:
    value = encode_score_maps(
        np.zeros((0, 6, 9), np.float16), np.zeros(0, np.float32), (), (60, 90)
    )

    decoded = decode_score_maps(value)

    assert decoded.labels == ()
    assert decoded.maps.shape == (0, 6, 9)
    assert decoded.presence.shape == (0,)
    assert decoded.size_yx == (60, 90)


def test_smooth_64_x_64_maps_take_under_2500_bytes_per_label() -> None:
    labels = [f"label {i}" for i in range(20)]

    value = encode_score_maps(
        smooth_maps(20), np.ones(20, np.float32), labels, (480, 640)
    )

    assert len(value) / len(labels) < 2500


def test_as_many_labels_as_are_looked_for_can_be_stored_on_the_finest_grid() -> None:
    assert MAX_LABELS == MAX_PROMPTS
    assert MAX_PROMPTS * 128 * 128 <= MAX_CELLS
