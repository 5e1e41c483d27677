"""Time our brush codec against the SDK's, in alternation, on three kinds of mask.

    python tests/bench/bench_rle.py [--sizes 512 1024] [--seconds 1]

Each row is one mask. Every round times the SDK and then us, so that a busy
machine slows both; the table holds medians and the ratio of the medians. The
seconds are what the SDK may spend on each cell of the table. Ours take a bool mask
and give a list of integers, the SDK's a uint8 mask of 0 and 255. Exits with
status 1 where the two disagree by a single byte or pixel.
"""

import argparse
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
from label_studio_sdk.converter import brush
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from backend.regions.rle import decode_rle, encode_rle

SIZES_PX = (512, 1024, 2048, 4096)
ENCODER_GOAL = 10


def smooth_noise(size_px: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Gaussian noise on a 16 x 16 lattice, brought to size without corners."""
    lattice = rng.standard_normal((17, 17))
    position = np.linspace(0, 16, size_px, endpoint=False)
    cell = position.astype(int)
    weight = position - cell
    weight = weight * weight * (3 - 2 * weight)
    rows = lattice[cell] * (1 - weight)[:, None] + lattice[cell + 1] * weight[:, None]
    return rows[:, cell] * (1 - weight) + rows[:, cell + 1] * weight


def centred_yx(size_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates of every pixel, 0 in the middle and 0.5 at the edges."""
    y, x = np.mgrid[:size_px, :size_px] / size_px - 0.5
    return y, x


def shape(size_px: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """One wavy object, about a quarter of the picture."""
    y, x = centred_yx(size_px)
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    waves = 0.15 * np.sin(7 * angle) + 0.05 * np.sin(23 * angle)
    return radius < 0.29 * (1 + waves)


def blobs(size_px: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Smooth noise above a threshold."""
    return smooth_noise(size_px, rng) > 0.3


def ragged(size_px: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """An object with a noisy edge, as an attention map cut raw has."""
    y, x = centred_yx(size_px)
    hill = np.exp(-((y / 0.3) ** 2) - (x / 0.35) ** 2)
    return hill + 0.04 * rng.standard_normal((size_px, size_px)) > 0.5


def alternate(
    first: Callable[[], object], second: Callable[[], object], budget_s: float
) -> tuple[float, float]:
    """Median milliseconds of each, after one call of the second to warm up.

    At least three rounds, then as many as the budget holds.
    """
    second()
    times_s: tuple[list[float], list[float]] = ([], [])
    while len(times_s[0]) < 3 or sum(times_s[0]) < budget_s:
        for call, spent_s in zip((first, second), times_s, strict=True):
            start_s = perf_counter()
            call()
            spent_s.append(perf_counter() - start_s)
    return median(times_s[0]) * 1000, median(times_s[1]) * 1000


def measure(
    mask: NDArray[np.bool_], budget_s: float
) -> tuple[bool, int, tuple[float, float], tuple[float, float]]:
    """Agreement, bytes, and (SDK, ours) milliseconds to encode and to decode."""
    mask = np.ascontiguousarray(mask)
    grey = mask.astype(np.uint8) * np.uint8(255)
    stream = brush.mask2rle(grey)
    agree = encode_rle(mask) == stream and bool(
        (decode_rle(stream, size_yx=mask.shape) == mask).all()
    )
    encode_ms = alternate(
        lambda: brush.mask2rle(grey), lambda: encode_rle(mask), budget_s
    )
    decode_ms = alternate(
        lambda: brush.decode_rle(stream),
        lambda: decode_rle(stream, size_yx=mask.shape),
        budget_s,
    )
    return agree, len(stream), encode_ms, decode_ms


def main() -> int:
    """Print one row per mask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES_PX)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()

    table = Table(title="Brush codec, median ms: SDK, ours, SDK / ours")
    for heading in ("mask", "RLE bytes", "encode", "", "ratio", "decode", "", "ratio"):
        table.add_column(heading, justify="left" if heading == "mask" else "right")
    rng = np.random.default_rng(0)
    all_agree, slowest = True, float("inf")
    for size_px in arguments.sizes:
        for draw in (shape, blobs, ragged):
            agree, size_bytes, encode_ms, decode_ms = measure(
                draw(size_px, rng), arguments.seconds
            )
            all_agree &= agree
            slowest = min(slowest, encode_ms[0] / encode_ms[1])
            table.add_row(
                f"{size_px} {draw.__name__}" + ("" if agree else " DIFFERS"),
                f"{size_bytes:,}",
                *(f"{value_ms:.2f}" for value_ms in encode_ms),
                f"{encode_ms[0] / encode_ms[1]:.1f}",
                *(f"{value_ms:.2f}" for value_ms in decode_ms),
                f"{decode_ms[0] / decode_ms[1]:.1f}",
            )
    console = Console(file=sys.stdout, width=88)
    console.print(table)
    console.print(f"Smallest encoder ratio {slowest:.1f}, goal {ENCODER_GOAL}.")
    return 0 if all_agree else 1


if __name__ == "__main__":
    sys.exit(main())
