import tracemalloc
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_studio_sdk.converter import brush

from backend.errors import BadMask
from backend.regions.rle import MAX_PIXELS, decode_rle, encode_rle
from tests.examples import at_most

# The largest run that one group holds is 65,536 values, 16,384 pixels.
LONGEST_RUN_PX = 16_384
# Pixels are compared in blocks of 2^18; these lie round the end of the first.
BLOCK_SEAM = [2**18 - 3, 2**18, 2**18 + 2, 2**18 + 3]
USUAL_FIELDS = (3, 4, 8, 16)

# A 7 x 5 stroke with soft edges, and what the editor's own encoder (@thi.ng/rle-pack
# 3.2.12 on node 20) makes of it: with the four channels alike, as the editor saves
# it; in colour, which brings literal groups; in colour with other length fields.
STROKE_ALPHA = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 12, 127, 128, 200, 0, 0],
        [0, 64, 255, 255, 255, 90, 0],
        [0, 3, 130, 129, 255, 255, 255],
        [0, 0, 0, 0, 0, 0, 1],
    ]
)
EDITOR_GREY = bytes.fromhex(
    "0000008c391bfe1f008c3237f8e023c8b6011a05bff8d6a7008c0e3828e06dffe17008c040"
)
EDITOR_COLOUR = bytes.fromhex(
    "0000008c391bfe1f003fa49a1219a49a12ffa49a1301a49a13916c0109e92684a0692684ffe926"
    "84ffe92684ffe92684ad4e0085f4934240f4934260b49342607493427ff493427ff493427ff0b8"
    "007a49a12020"
)
EDITOR_COLOUR_OTHER_FIELDS = bytes.fromhex(
    "0000008c380a5ef8027e9268486692684bfe92684c0692684e4658029e92684a0692684ffe9268"
    "4ffe92684ffe92684ad63802be9268481e92684c1692684c0e92684ffe92684ffe92684ffeb801"
    "f493424040"
)


def sdk_encode(mask: np.ndarray) -> list[int]:
    return brush.mask2rle((mask != 0).astype(np.uint8) * 255)


def stream_bits(
    groups: Iterable[tuple[int, Sequence[int], int]],
    *,
    value_count: int,
    value_bits: int = 8,
    fields: Sequence[int] = USUAL_FIELDS,
) -> list[int]:
    """Write a stream group by group: (size class, values, repeats of a run or 0)."""
    bits = f"{value_count:032b}{value_bits - 1:05b}"
    bits += "".join(f"{field - 1:04b}" for field in fields)
    for size_class, values, repeats in groups:
        length = repeats or len(values)
        bits += f"{int(repeats > 0)}{size_class:02b}{length - 1:0{fields[size_class]}b}"
        bits += "".join(f"{value:0{value_bits}b}" for value in values)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


@st.composite
def small_masks(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    density = draw(st.sampled_from([0.0, 0.02, 0.2, 0.5, 0.9, 1.0]))
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).random(shape) < density


@st.composite
def masks_of_chosen_runs(draw: st.DrawFn) -> np.ndarray:
    """Runs on both sides of every change of the length field, as one odd shape."""
    edges = [1, 2, 3, 4, 5, 63, 64, 65]
    edges += [n * LONGEST_RUN_PX + off for n in (1, 2, 3) for off in (-1, 0, 1, 2, 64)]
    runs = draw(st.lists(st.sampled_from(edges), min_size=1, max_size=12))
    pixels = np.repeat(np.arange(len(runs)) % 2 == draw(st.integers(0, 1)), runs)
    rows = draw(st.sampled_from([n for n in (1, 2, 3, 5, 7) if pixels.size % n == 0]))
    return pixels.reshape(rows, -1)


@st.composite
def streams_with_literals(draw: st.DrawFn) -> tuple[list[int], tuple[int, int]]:
    """A valid stream of runs and literals whose values fill whole pixels."""
    fields = draw(st.sampled_from([USUAL_FIELDS, (1, 2, 5, 12), (16, 16, 16, 16)]))
    values = st.integers(0, 255)
    groups = []
    for _ in range(draw(st.integers(1, 12))):
        size_class = draw(st.integers(0, 3))
        limit = min(2 ** fields[size_class], 300)
        if draw(st.booleans()):
            groups.append((size_class, [draw(values)], draw(st.integers(1, limit))))
        else:
            literal = draw(st.lists(values, min_size=1, max_size=min(limit, 30)))
            groups.append((size_class, literal, 0))
    count = sum(repeats or len(words) for _, words, repeats in groups)
    groups += [(0, [draw(values)], 1)] * (-count % 4)
    count += -count % 4
    stream = stream_bits(groups, value_count=count, fields=fields)
    return stream, draw(st.sampled_from([(1, count // 4), (count // 4, 1)]))


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(np.zeros((1, 1), bool), id="1x1-off"),
        pytest.param(np.ones((1, 1), bool), id="1x1-on"),
        pytest.param(np.zeros((300, 401), bool), id="all-off"),
        pytest.param(np.ones((401, 300), bool), id="all-on"),
        pytest.param(np.indices((9, 13)).sum(0) % 2 == 1, id="checkerboard"),
        pytest.param(np.eye(64, 33, dtype=bool), id="diagonal"),
        pytest.param(np.arange(17)[None, :] > 8, id="one-row"),
        pytest.param(np.arange(17)[:, None] > 8, id="one-column"),
        pytest.param(np.ones((128, 128), bool), id="exactly-one-longest-run"),
        pytest.param(
            np.isin(np.arange(600 * 701), BLOCK_SEAM).reshape(600, 701), id="seam"
        ),
        pytest.param(np.arange(3 * 21_846).reshape(3, -1) > 1, id="65,536-pixels"),
    ],
)
def test_encode_rle_writes_the_bytes_of_the_sdk_and_both_read_them(
    mask: np.ndarray,
) -> None:
    encoded = encode_rle(mask)

    assert encoded == sdk_encode(mask)
    assert encode_rle(mask.astype(np.uint8) * np.uint8(255)) == encoded
    by_sdk = brush.decode_rle(encoded).reshape(*mask.shape, 4)
    np.testing.assert_array_equal(
        by_sdk, np.where(mask, 255, 0)[..., None].repeat(4, 2)
    )
    np.testing.assert_array_equal(decode_rle(encoded, size_yx=mask.shape), mask)


@settings(max_examples=at_most(2000), deadline=None)
@given(mask=small_masks())
def test_encode_rle_writes_the_bytes_of_the_sdk_for_any_small_mask(
    mask: np.ndarray,
) -> None:
    assert encode_rle(mask) == sdk_encode(mask)
    assert encode_rle(mask.astype(np.uint8) * np.uint8(255)) == sdk_encode(mask)


@settings(max_examples=at_most(500), deadline=None)
@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_encode_rle_writes_the_bytes_of_the_sdk_for_masks_that_hypothesis_shrinks(
    mask: np.ndarray,
) -> None:
    assert encode_rle(mask) == sdk_encode(mask)


@settings(max_examples=at_most(500), deadline=None)
@given(mask=masks_of_chosen_runs())
def test_encode_rle_writes_the_bytes_of_the_sdk_around_the_longest_run(
    mask: np.ndarray,
) -> None:
    assert encode_rle(mask) == sdk_encode(mask)


@settings(max_examples=at_most(300), deadline=None)
@given(mask=small_masks() | masks_of_chosen_runs())
def test_masks_survive_both_decoders(mask: np.ndarray) -> None:
    encoded = encode_rle(mask)

    ours = decode_rle(encoded, size_yx=mask.shape)
    theirs = brush.decode_rle(encoded).reshape(*mask.shape, 4)[:, :, 3]

    assert ours.dtype == np.bool_
    np.testing.assert_array_equal(ours, mask)
    np.testing.assert_array_equal(theirs == 255, mask)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda mask: mask.T, id="transposed"),
        pytest.param(lambda mask: mask[::2, 1::3], id="strided"),
        pytest.param(lambda mask: mask[::-1, ::-1], id="reversed"),
        pytest.param(np.asfortranarray, id="column-major"),
    ],
)
def test_encode_rle_reads_rows_first_whatever_the_memory_layout(view) -> None:
    mask = view(np.random.default_rng(3).random((23, 41)) < 0.4)

    assert encode_rle(mask) == sdk_encode(np.array(mask, order="C"))


def test_encode_rle_leaves_the_mask_as_it_was_even_when_read_only() -> None:
    mask = np.array([[0, 255], [255, 0]], np.uint8)
    before = mask.copy()
    mask.setflags(write=False)

    encode_rle(mask)

    np.testing.assert_array_equal(mask, before)


def test_encode_rle_returns_plain_integers_that_json_accepts() -> None:
    assert {type(item) for item in encode_rle(np.eye(9, dtype=bool))} == {int}


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        pytest.param(np.zeros((4, 4, 3), bool), r"3 dimensions.*\(4, 4, 3\)", id="3-D"),
        pytest.param(np.zeros(16, bool), r"1 dimensions.*per label", id="1-D"),
        pytest.param(np.zeros((0, 5), bool), r"empty.*\(0, 5\).*\(1, 1\)", id="empty"),
        pytest.param(np.eye(3, dtype=np.uint8), r"holds 1;.*0 and 255.*inv", id="0/1"),
        pytest.param(np.full((2, 3), 254, np.uint8), r"holds 254;", id="254"),
        pytest.param(np.zeros((2, 3), np.float32), r"float32.*bool", id="float"),
        pytest.param(np.zeros((2, 3), np.int64), r"int64.*bool", id="int64"),
        pytest.param(
            np.broadcast_to(np.False_, (2**15, 2**15)),
            rf"1073741824 pixels.*{MAX_PIXELS}",
            id="too-large-to-count",
        ),
    ],
)
def test_encode_rle_refuses_with_the_value_the_limit_and_the_remedy(
    mask: np.ndarray, told: str
) -> None:
    with pytest.raises(BadMask, match=told):
        encode_rle(mask)


def test_encode_rle_finds_the_one_bad_pixel_of_a_mask() -> None:
    mask = np.zeros((40, 50), np.uint8)
    mask[:20] = 255
    mask[31, 7] = 3

    with pytest.raises(BadMask, match="holds 3;"):
        encode_rle(mask)


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(EDITOR_GREY, id="grey"),
        pytest.param(EDITOR_COLOUR, id="colour"),
        pytest.param(EDITOR_COLOUR_OTHER_FIELDS, id="colour-other-length-fields"),
    ],
)
def test_decode_rle_reads_what_the_editor_writes_from_half_covered_upwards(
    stream: bytes,
) -> None:
    decoded = decode_rle(list(stream), size_yx=(5, 7))

    np.testing.assert_array_equal(decoded, STROKE_ALPHA >= 128)
    assert decoded[1].tolist() == [False, False, False, True, True, False, False]


@settings(max_examples=at_most(500), deadline=None)
@given(written=streams_with_literals())
def test_decode_rle_reads_literals_and_other_fields_as_the_sdk_does(
    written: tuple[list[int], tuple[int, int]],
) -> None:
    stream, size_yx = written

    decoded = decode_rle(stream, size_yx=size_yx)

    alpha = brush.decode_rle(stream).reshape(*size_yx, 4)[:, :, 3]
    np.testing.assert_array_equal(decoded, alpha >= 128)


@pytest.mark.parametrize(
    "convert",
    [bytes, bytearray, tuple, lambda rle: np.array(rle, np.int64), iter],
    ids=["bytes", "bytearray", "tuple", "int64-array", "iterator"],
)
def test_decode_rle_takes_any_row_of_integers(convert) -> None:
    mask = np.eye(5, 8, dtype=bool)

    decoded = decode_rle(convert(encode_rle(mask)), size_yx=(5, 8))

    np.testing.assert_array_equal(decoded, mask)


def test_decode_rle_bears_padding_of_whole_zero_bytes() -> None:
    mask = np.eye(5, 8, dtype=bool)

    decoded = decode_rle([*encode_rle(mask), 0, 0, 0, 0], size_yx=(5, 8))

    np.testing.assert_array_equal(decoded, mask)


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(encode_rle(np.eye(5, 7, dtype=bool)), id="ours"),
        pytest.param(list(EDITOR_COLOUR), id="editor"),
    ],
)
def test_decode_rle_refuses_a_stream_cut_anywhere(stream: list[int]) -> None:
    # The last byte may be nothing but padding; without it the stream is whole.
    whole = len(stream) - 1

    for kept in range(whole):
        with pytest.raises(BadMask, match=r"ends before|header alone"):
            decode_rle(stream[:kept], size_yx=(5, 7))


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        pytest.param([], "0 bytes", id="empty"),
        pytest.param([0, 1, 256], "not a list of integers 0 to 255", id="256"),
        pytest.param([0, 1, -1], "not a list of integers 0 to 255", id="negative"),
        pytest.param([0, 1, 0.5], "not a list of integers 0 to 255", id="fraction"),
        pytest.param("AAAA", "not a list of integers 0 to 255", id="text"),
        pytest.param(None, "not a list of integers 0 to 255", id="none"),
        pytest.param(10**15, "not a list of integers 0 to 255", id="a-number"),
        pytest.param([7] * 60, "1 bits per value.*has 8", id="noise"),
        pytest.param(
            stream_bits([(0, [1], 8)], value_count=24, value_bits=1),
            "1 bits per value.*has 8",
            id="one-bit-values",
        ),
        pytest.param(
            stream_bits([(2, [255], 25)], value_count=24),
            "1 values past the 24",
            id="run-past-the-end",
        ),
        pytest.param(
            stream_bits([(2, [255] * 30, 0)], value_count=24),
            "6 values past the 24",
            id="literal-past-the-end",
        ),
        pytest.param(
            stream_bits([(2, [255], 24), (0, [9], 2)], value_count=24),
            "goes on after the last",
            id="surplus-group",
        ),
        pytest.param(
            stream_bits([(2, [255], 20)], value_count=24),
            "ends before the last",
            id="too-few-values",
        ),
    ],
)
def test_decode_rle_refuses_damage_and_says_what_it_saw(stream, told: str) -> None:
    with pytest.raises(BadMask, match=told):
        decode_rle(stream, size_yx=(2, 3))


@pytest.mark.parametrize("size_yx", [(5, 8), (7, 6), (1, 1), (0, 35), (-5, -7)])
def test_decode_rle_refuses_another_size(size_yx: tuple[int, int]) -> None:
    stream = encode_rle(np.eye(5, 7, dtype=bool))

    with pytest.raises(BadMask, match=r"original_height|was drawn on"):
        decode_rle(stream, size_yx=size_yx)


@pytest.mark.parametrize(
    "size_yx",
    [
        pytest.param((2, 3), id="size-of-the-image"),
        pytest.param((2**15 - 1, 2**15), id="size-that-agrees-with-the-lie"),
    ],
)
def test_decode_rle_allocates_nothing_for_a_header_that_lies(
    size_yx: tuple[int, int],
) -> None:
    hold_leases = 4 * (2**15 - 1) * 2**15
    stream = stream_bits([(3, [255], 65_536)] * 20, value_count=hold_leases)

    tracemalloc.start()
    try:
        with pytest.raises(BadMask):
            decode_rle(stream, size_yx=size_yx)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 1_000_000


@settings(max_examples=at_most(1000), deadline=None)
@given(
    tail=st.binary(min_size=3, max_size=60),
    fields=st.integers(0, 0xFFFF),
    pixels=st.sampled_from([(1, 1), (3, 5), (40, 7)]),
)
def test_decode_rle_answers_noise_with_a_mask_or_a_refusal_and_nothing_else(
    tail: bytes, fields: int, pixels: tuple[int, int]
) -> None:
    header = (pixels[0] * pixels[1] * 4) << 21 | 7 << 16 | fields
    stream = (header << 3).to_bytes(7, "big") + tail

    try:
        decoded = decode_rle(stream, size_yx=pixels)
    except BadMask:
        return

    alpha = brush.decode_rle(stream).reshape(*pixels, 4)[:, :, 3]
    np.testing.assert_array_equal(decoded, alpha >= 128)


@settings(max_examples=at_most(500), deadline=None)
@given(mask=small_masks(), bit=st.integers(0, 10**6))
def test_decode_rle_answers_one_flipped_bit_with_a_mask_or_a_refusal(
    mask: np.ndarray, bit: int
) -> None:
    stream = encode_rle(mask)
    bit %= len(stream) * 8
    stream[bit // 8] ^= 128 >> bit % 8

    try:
        decoded = decode_rle(stream, size_yx=mask.shape)
    except BadMask:
        return

    alpha = brush.decode_rle(stream).reshape(*mask.shape, 4)[:, :, 3]
    np.testing.assert_array_equal(decoded, alpha >= 128)
