"""Masks in, Label Studio brush streams out, and back again.

Pure functions on numpy arrays: no label, no image, no score. A stream is the
thi.ng `rle-pack` format, bits in most-significant-first order, as a list of
bytes:

    header  32 bits  number of values: rows x columns x 4 (RGBA, row by row)
             5 bits  bits per value, minus 1
         4 x 4 bits  the four possible sizes of a length field, minus 1
    groups   1 bit   1: a run of one value; 0: literal values
             2 bits  which of the four sizes the length field has
             n bits  how many values, minus 1
             8 bits  the value; once for a run, once per value for a literal

We write what `label_studio_sdk.converter.brush.mask2rle` writes, byte for byte,
its padding included, and read that and what the editor's JavaScript writes.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backend.errors import BadMask

OnOff: TypeAlias = NDArray[np.bool_] | NDArray[np.uint8]

CHANNELS = 4
VALUE_BITS = 8
HEADER_BITS = 53
GROUP_HEAD_BITS = 3
LENGTH_FIELD_BITS = (3, 4, 8, 16)
MAX_PIXELS = (2**32 - 1) // CHANNELS
OPAQUE = 255

# An anti-aliased edge pixel belongs to the mask when the brush covers half of it,
# so that a stroke keeps its width; any alpha > 0 would widen it by a pixel.
PAINTED_FROM_ALPHA = 128

# The 21 bits after the count: 8-bit values, then the four length field sizes.
_HEADER_TAIL = 0x7237F
_MAX_RUN_PX = 2 ** LENGTH_FIELD_BITS[-1] // CHANNELS
_BLOCK_PX = 2**18
_FIRST_LONG_RUN_PX = 2 ** LENGTH_FIELD_BITS[-2] // CHANNELS + 1
_EXAMPLE = "Pass a 2-D bool mask, such as `scores > 0.5`."


def encode_rle(mask: OnOff) -> list[int]:
    """Write one mask as a brush stream.

    Args:
        mask: (Y, X), bool or uint8 of 0 and 255, at the size of the image as the
            browser shows it. Nothing is resized, smoothed or thresholded here.

    Returns:
        Integers 0 to 255, ready for JSON.

    Raises:
        BadMask: if the mask is not 2-D, is empty, has more pixels than the
            header can count, or holds anything but off and fully on.
    """
    _check_shape(mask)
    lengths_px, alphas = _runs(np.ascontiguousarray(mask).reshape(-1))
    codes, code_bits = _run_codes(lengths_px, alphas)
    return list(_pack(codes, code_bits, value_count=mask.size * CHANNELS))


def decode_rle(rle: Iterable[int], *, size_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """Read a brush stream back into a mask.

    Only alpha counts, as in the editor, which replaces the other three channels
    by the colour of the label.

    Args:
        rle: the stream, integers 0 to 255, from the SDK, from us or from the
            editor.
        size_yx: (rows, columns) of the mask. The stream does not hold it, and no
            more than this is ever allocated, whatever the stream claims.

    Returns:
        bool (Y, X), True where alpha is at least half of full.

    Raises:
        BadMask: if the stream is cut short, has a surplus, is not of this format
            or is for another size.
    """
    return decode_alpha(rle, size_yx=size_yx) >= PAINTED_FROM_ALPHA


def decode_alpha(rle: Iterable[int], *, size_yx: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a brush stream as it is drawn, soft edges and all: uint8 (Y, X).

    See `decode_rle`.
    """
    stream = _stream_bytes(rle)
    value_count, field_bits = _read_header(stream)
    _check_size(value_count, size_yx)
    lengths, value_at = _read_groups(stream, field_bits, value_count)

    alphas = _read_bits(stream, value_at, VALUE_BITS).astype(np.uint8)
    # Pixel k's alpha is value 4k + 3, so n whole values cover n // 4 alphas.
    ends_px = np.cumsum(lengths) // CHANNELS
    return np.repeat(alphas, np.diff(ends_px, prepend=0)).reshape(size_yx)


def _check_shape(mask: NDArray[Any]) -> None:
    if mask.ndim != 2:
        raise BadMask(
            f"The mask has {mask.ndim} dimensions, shape {mask.shape}; a brush mask "
            f"has 2, (rows, columns). Encode one mask per label."
        )
    if mask.size == 0:
        raise BadMask(
            f"The mask is empty, shape {mask.shape}; the smallest is (1, 1). "
            f"Check the size that the image was read with."
        )
    if mask.size > MAX_PIXELS:
        raise BadMask(
            f"The mask has {mask.size} pixels, shape {mask.shape}; the stream's "
            f"header can count {MAX_PIXELS}. Label a smaller image."
        )
    if mask.dtype not in (np.bool_, np.uint8):
        raise BadMask(
            f"The mask is {mask.dtype}; only bool, or uint8 of 0 and 255, can be "
            f"told on from off. {_EXAMPLE}"
        )


def _check_alphas(alphas: NDArray[np.int64]) -> None:
    """Of one pixel per run: the others of a run are equal to it."""
    partial = alphas[(alphas != 0) & (alphas != OPAQUE)]
    if partial.size:
        raise BadMask(
            f"The uint8 mask holds {int(partial[0])}; only 0 and {OPAQUE} are "
            f"allowed. Values become the alpha of the brush, so a mask of 0 and 1 "
            f"would be painted and yet be invisible. {_EXAMPLE}"
        )


def _runs(pixels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Length in pixels and alpha of every run of equal pixels."""
    edges = _run_edges(pixels)
    alphas = pixels[edges[:-1]].astype(np.int64)
    if pixels.dtype == np.bool_:
        alphas *= OPAQUE
    else:
        _check_alphas(alphas)
    return edges[1:] - edges[:-1], alphas


def _run_edges(pixels: NDArray[Any]) -> NDArray[np.int64]:
    """Where runs start, and the end of the last.

    Block by block: the comparison of a whole mask would be as large as the mask,
    and asking the system for fresh memory takes longer than comparing.
    """
    differs = np.empty(min(pixels.size, _BLOCK_PX), np.bool_)
    edges: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
    for start in range(1, pixels.size, _BLOCK_PX):
        block = pixels[start : start + _BLOCK_PX]
        before = pixels[start - 1 : start - 1 + block.size]
        np.not_equal(block, before, out=differs[: block.size])
        edges.append(np.flatnonzero(differs[: block.size]) + start)
    edges.append(np.array([pixels.size]))
    return np.concatenate(edges)


def _code_table() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Head of a run's code and its size in bits, by length in pixels.

    The last row is for that length and every longer one. A head lacks
    `(length << 10) + alpha`; the `length - 1` of the format is in it already.
    """
    heads = np.zeros(_FIRST_LONG_RUN_PX + 1, np.int64)
    sizes = np.zeros(_FIRST_LONG_RUN_PX + 1, np.int64)
    for length_px in range(1, _FIRST_LONG_RUN_PX + 1):
        size_class = next(
            index
            for index, bits in enumerate(LENGTH_FIELD_BITS)
            if length_px * CHANNELS <= 2**bits
        )
        tail_bits = LENGTH_FIELD_BITS[size_class] + VALUE_BITS
        heads[length_px] = ((0b100 | size_class) << tail_bits) - (1 << VALUE_BITS)
        sizes[length_px] = GROUP_HEAD_BITS + tail_bits
    return heads, sizes


_CODE_HEADS, _CODE_SIZES = _code_table()


def _run_codes(
    lengths_px: NDArray[np.int64], alphas: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The code of every run and its size in bits, long runs cut into several."""
    rows = np.minimum(lengths_px, _FIRST_LONG_RUN_PX)
    if lengths_px.max() > _MAX_RUN_PX:
        pieces = (lengths_px - 1) // _MAX_RUN_PX + 1
        remainders = lengths_px - (pieces - 1) * _MAX_RUN_PX
        # The SDK leaves a short remainder in the class of the run it is cut from.
        rows = rows.repeat(pieces)
        alphas = alphas.repeat(pieces)
        lengths_px = np.full(rows.size, _MAX_RUN_PX)
        lengths_px[pieces.cumsum() - 1] = remainders
    codes = _CODE_HEADS.take(rows)
    codes += lengths_px * (CHANNELS << VALUE_BITS)
    codes += alphas
    return codes, _CODE_SIZES.take(rows)


def _pack(
    codes: NDArray[np.int64], code_bits: NDArray[np.int64], *, value_count: int
) -> bytes:
    """Header and codes as one bit string, cut into bytes."""
    code_at = np.empty(codes.size + 1, np.int64)
    code_at[0] = HEADER_BITS
    code_bits.cumsum(out=code_at[1:])
    code_at[1:] += HEADER_BITS
    total_bits = int(code_at[-1])

    # Each code goes left-aligned into a window of two 32-bit words. No code is
    # longer than a word, so every word has a code that starts in it and the
    # windows that start in one word lie side by side in the arrays.
    word_at = code_at[:-1] >> 5
    windows = (codes << (64 - (code_at[:-1] & 31) - code_bits)).view(np.uint64)
    is_first = np.ones(codes.size, np.bool_)
    np.not_equal(word_at[1:], word_at[:-1], out=is_first[1:])
    windows = np.bitwise_or.reduceat(windows, np.flatnonzero(is_first))

    words = np.zeros(windows.size + 2, np.uint32)
    words[1:-1] = windows >> np.uint64(32)
    words[2:] |= windows.astype(np.uint32)
    words[0] = value_count
    words[1] |= np.uint32(_HEADER_TAIL << (64 - HEADER_BITS))
    # The SDK's padding: one to eight zero bits, a whole byte of them when aligned.
    return words.astype(">u4").tobytes()[: total_bits // 8 + 1]


def _stream_bytes(rle: Iterable[int]) -> bytes:
    try:
        stream = bytes(list(rle))
    except (TypeError, ValueError) as error:
        raise BadMask(
            f"The brush stream is not a list of integers 0 to 255: {error}. "
            f"Pass the `value.rle` of a region as it is."
        ) from error
    if len(stream) * 8 < HEADER_BITS:
        raise BadMask(
            f"The brush stream has {len(stream)} bytes; the header alone has "
            f"{HEADER_BITS // 8 + 1}. Send the region again in full."
        )
    return stream


def _read_header(stream: bytes) -> tuple[int, NDArray[np.int64]]:
    """Number of values and the four sizes of a length field, in bits."""
    header = int.from_bytes(stream[:7]) >> 3
    value_bits = (header >> 16 & 31) + 1
    if value_bits != VALUE_BITS:
        raise BadMask(
            f"The brush stream has {value_bits} bits per value; an alpha has "
            f"{VALUE_BITS}. It is damaged or was not written for Label Studio."
        )
    field_bits = [(header >> shift & 15) + 1 for shift in (12, 8, 4, 0)]
    return header >> 21, np.array(field_bits)


def _check_size(value_count: int, size_yx: tuple[int, int]) -> None:
    rows, columns = size_yx
    if rows < 1 or columns < 1:
        raise BadMask(
            f"A mask of size {rows} x {columns} (rows x columns) cannot be; the "
            f"smallest is 1 x 1. Pass the region's `original_height` and "
            f"`original_width`."
        )
    if value_count != rows * columns * CHANNELS:
        raise BadMask(
            f"The brush stream is for {value_count} values, but a mask of {rows} x "
            f"{columns} (rows x columns) has {rows * columns * CHANNELS}. Pass the "
            f"size of the image that the region was drawn on."
        )


def _read_groups(
    stream: bytes, field_bits: NDArray[np.int64], value_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Length of every run and the bit where its value stands.

    A literal group comes back as runs of one. The lengths add up to
    `value_count` exactly and every value lies within the stream.
    """
    group_at = _group_starts(stream, field_bits)
    heads = _read_bits(stream, group_at, GROUP_HEAD_BITS)
    sizes = field_bits[heads & 0b11]
    lengths = _read_bits(stream, group_at + GROUP_HEAD_BITS, sizes) + 1
    value_at = group_at + GROUP_HEAD_BITS + sizes

    is_run = heads >= 0b100
    words = np.where(is_run, 1, lengths)
    end_bits = value_at + words * VALUE_BITS
    used = _count_used(stream, np.cumsum(lengths), end_bits, value_count)
    if is_run[:used].all():
        return lengths[:used], value_at[:used]

    words = words[:used]
    within = np.arange(words.sum()) - np.repeat(np.cumsum(words) - words, words)
    return (
        np.repeat(np.where(is_run, lengths, 1)[:used], words),
        np.repeat(value_at[:used], words) + within * VALUE_BITS,
    )


def _group_starts(stream: bytes, field_bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Walk from group to group to the end of the stream, padding included.

    The only serial part of reading: where a group starts depends on the one
    before. The size of a run is looked up by bit, for all bits at once; the last
    group may reach over the end.
    """
    bits = np.unpackbits(np.frombuffer(stream + b"\0", np.uint8))
    heads = bits[:-2] << 2 | bits[1:-1] << 1 | bits[2:]
    run_bits = GROUP_HEAD_BITS + field_bits + VALUE_BITS
    steps = np.concatenate([np.zeros(4, np.int64), run_bits]).astype(np.uint8)
    step_at = steps[heads].tobytes()

    starts = []
    at, last = HEADER_BITS, len(stream) * 8 - int(run_bits.min())
    while at <= last:
        starts.append(at)
        at += step_at[at] or _literal_bits(stream, at, field_bits)
    return np.array(starts, np.int64)


def _literal_bits(stream: bytes, at: int, field_bits: NDArray[np.int64]) -> int:
    """Size in bits of the literal group that starts at bit `at`."""
    window = int.from_bytes(stream[at // 8 : at // 8 + 4].ljust(4, b"\0"))
    window = window << at % 8 & 0xFFFFFFFF
    size = int(field_bits[window >> 29 & 0b11])
    length = (window << GROUP_HEAD_BITS & 0xFFFFFFFF) >> (32 - size)
    return GROUP_HEAD_BITS + size + (length + 1) * VALUE_BITS


def _count_used(
    stream: bytes,
    ends: NDArray[np.int64],
    end_bits: NDArray[np.int64],
    value_count: int,
) -> int:
    """How many groups it takes to reach `value_count`; the rest is padding."""
    used = int(np.searchsorted(ends, value_count)) + 1
    if used > ends.size or end_bits[used - 1] > len(stream) * 8:
        raise BadMask(
            f"The brush stream of {len(stream)} bytes ends before the last of its "
            f"{value_count} values. It was cut short: send the region again in full."
        )
    surplus = int(ends[used - 1]) - value_count
    if surplus:
        raise BadMask(
            f"The brush stream runs {surplus} values past the {value_count} of its "
            f"header. It is damaged: send the region again."
        )
    if np.unpackbits(np.frombuffer(stream, np.uint8))[end_bits[used - 1] :].any():
        raise BadMask(
            f"The brush stream of {len(stream)} bytes goes on after the last of its "
            f"{value_count} values. It is damaged: send the region again."
        )
    return used


def _read_bits(
    stream: bytes, at: NDArray[np.int64], width: int | NDArray[np.int64]
) -> NDArray[np.int64]:
    """The unsigned number of `width` bits, at most 16, at each bit position."""
    padded = stream + b"\0" * 8
    windows: NDArray[np.int64] = np.ndarray(
        shape=len(stream) + 1, dtype=">i8", buffer=padded, strides=(1,)
    )
    numbers: NDArray[np.int64] = windows[at >> 3] >> (64 - (at & 7) - width)
    numbers &= (1 << width) - 1
    return numbers
