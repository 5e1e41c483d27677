"""Score maps in, each pixel's best label out. Pure; no torch.

Small pictures are enlarged whole, one map after the other. Of large ones only the
tiles are enlarged in which a label can win: bounds of a tile say where it cannot.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segmenter.masks.boundaries import Guide
from segmenter.masks.tiles import Place, Surface, Tiles
from segmenter.types import ScoreMaps

_Floats = NDArray[np.float32]
_Enlarge = Callable[[NDArray[np.float16]], _Floats]

# A map that spans less is constant: no evidence of anything.
_LEAST_SPAN: Final = 1e-6
# Below this, tiles are too small to be worth their overhead.
_TILES_FROM_SHRINK: Final = 3.0
# Labels at once: a few megabytes of coefficients each.
_BATCH: Final = 16
# Tiles in which the lowest and highest value of a map are looked for at first.
_FIRST_01: Final = 0.01
# Scores are reckoned with rounding, and bounds of them too.
_ROUNDING_01: Final = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Winners:
    """Each pixel's best label, before any threshold.

    Attributes:
        owners: int16 (Y, X), index of the best label plus 1, 0 where none scores
            above the floor that was asked for (or, of some pixels, above 0).
        scores: float32 (Y, X) in [0, 1], the owner's; 0 in tiles without any.
        peaks: float32 (L,) in [0, 1], each label's highest score.
        boxes_yxyx: int64 (L, 4), rows and columns that hold all that is a label's; the
            last two are the first ones after it, 0 where nothing is.
    """

    owners: NDArray[np.int16]
    scores: _Floats
    peaks: _Floats
    boxes_yxyx: NDArray[np.int64]

    def enter(self, index: int, scores: _Floats, place: Place) -> None:
        """Hand over the pixels of a place where a label has more than the best."""
        best = self.scores[place]
        wins = scores > best
        if not wins.any():
            return
        np.copyto(self.owners[place], np.int16(index + 1), where=wins)
        np.maximum(best, scores, out=best)
        box = self.boxes_yxyx[index]
        first, end = zip(*((one.start, one.stop) for one in place), strict=True)
        box[:2] = np.minimum(box[:2], first) if box[2] else first
        box[2:] = np.maximum(box[2:], end)


class Competition:
    """An image's score maps, ready to be enlarged."""

    def __init__(self, score_maps: ScoreMaps, pixels: NDArray[np.uint8] | None) -> None:
        """Take the maps and, where edges are to follow the image's, its pixels.

        Raises:
            ValueError: if the image is not of the size that was scored.
        """
        self._maps = score_maps
        if pixels is not None and pixels.shape != (*score_maps.size_yx, 3):
            raise ValueError(
                f"The image is {pixels.shape} and the scores are of one of "
                f"{score_maps.size_yx}; pass the image that was scored."
            )
        self._guide = None if pixels is None else Guide(pixels)
        self._tiles: Tiles | None = None
        if pixels is not None and self._guide is not None:
            small_yx = self._guide.small_yx
            if max(pixels.shape[:2]) >= _TILES_FROM_SHRINK * max(small_yx):
                self._tiles = Tiles(pixels, small_yx)

    def winners(self, labels: Sequence[int], floor_01: float = 0.0) -> Winners:
        """Let these labels compete for every pixel; a tie goes to the first.

        Args:
            labels: indices, ascending.
            floor_01: scores up to it count for nothing, and where no label has more
                the result may have any owner that has no more either.
        """
        size_yx, n_labels = self._maps.size_yx, len(self._maps.labels)
        found = Winners(
            owners=np.zeros(size_yx, np.int16),
            # Not touched, and so no memory, where no label can win.
            scores=np.zeros(size_yx, np.float32),
            peaks=np.zeros(n_labels, np.float32),
            boxes_yxyx=np.zeros((n_labels, 4), np.int64),
        )
        if self._guide is None or self._tiles is None:
            self._compete_whole(labels, found)
            return found
        lead = np.full(self._tiles.shape, floor_01)
        for first in range(0, len(labels), _BATCH):
            batch = labels[first : first + _BATCH]
            _compete_in_tiles(self._tiles, self._entrants(batch), lead, found)
        return found

    def _compete_whole(self, labels: Sequence[int], found: Winners) -> None:
        enlarge = self._enlarger()
        rows, columns = self._maps.size_yx
        for index in labels:
            scores = enlarge(self._maps.maps[index])
            found.peaks[index] = scores.max()
            found.enter(index, scores, (slice(0, rows), slice(0, columns)))

    def _enlarger(self) -> _Enlarge:
        guide = self._guide
        if guide is None:
            return lambda score_map: upsample(score_map, self._maps.size_yx)
        return lambda score_map: stretch(guide.follow(score_map), *_range(score_map))

    def _entrants(self, labels: Sequence[int]) -> "list[_Entrant]":
        assert self._guide is not None
        assert self._tiles is not None
        found = []
        for index in labels:
            score_map = self._maps.maps[index]
            surface = Surface(self._guide.fit(score_map))
            low, high = self._tiles.bounds(surface)
            entrant = _Entrant(
                index=index,
                surface=surface,
                low=low,
                high=high,
                range_01=_range(score_map),
            )
            found.append(entrant)
        _find_ranges(self._tiles, found)
        return found


@dataclass(kw_only=True, eq=False)
class _Entrant:
    """One label's map, not yet enlarged.

    Attributes:
        index: of the label.
        surface: of the map.
        low: bound of each tile, float32 (B, K).
        high: see `low`.
        range_01: lowest and highest score of any cell.
        least: lowest value at image size, as far as it was looked for.
        most: highest, the same.
    """

    index: int
    surface: Surface
    low: _Floats
    high: _Floats
    range_01: tuple[float, float]
    least: float = np.inf
    most: float = -np.inf

    @property
    def span(self) -> float:
        return self.most - self.least

    def rescaled(self, values: _Floats) -> _Floats:
        """Values at image size to scores, in place; see `stretch`."""
        low, high = self.range_01
        values -= np.float32(self.least)
        values *= np.float32((high - low) / self.span)
        values += np.float32(low)
        return values


def upsample(score_map: NDArray[np.float16], size_yx: tuple[int, int]) -> _Floats:
    """Bilinear to image size, over the range of its cells: float32 (Y, X).

    A constant map stays what it is not: evidence. It comes back as zeros.
    """
    rows, columns = size_yx
    small = Image.fromarray(score_map.astype(np.float32))
    large = np.asarray(small.resize((columns, rows), Image.Resampling.BILINEAR))
    return stretch(large, *_range(score_map))


def _range(score_map: NDArray[np.float16]) -> tuple[float, float]:
    """Lowest and highest score of any cell, [0, 1] for a map that was stretched.

    Enlarging evens a map out; of one that was not stretched, how much it reaches is
    what it says of the label's presence.
    """
    return float(score_map.min()), float(score_map.max())


def stretch(large: _Floats, low_01: float = 0.0, high_01: float = 1.0) -> _Floats:
    """Min-max to a range; zeros for a constant map."""
    low, high = float(large.min()), float(large.max())
    if high - low < _LEAST_SPAN:
        # A picture of one pixel has one value: what the map holds on average.
        return np.full(large.shape, high if large.size == 1 else 0.0, np.float32)
    stretched: _Floats = np.subtract(large, low, dtype=np.float32)
    stretched *= np.float32((high_01 - low_01) / (high - low))
    stretched += np.float32(low_01)
    return stretched


def _find_ranges(tiles: Tiles, entrants: Sequence[_Entrant]) -> None:
    """Lowest and highest value of each map at image size."""
    surfaces = [one.surface for one in entrants]
    # First where bounds promise much: few tiles can hold more than is found there.
    for choose in (_promising, _beyond):
        wanted = [choose(one) for one in entrants]
        for number, values, _ in tiles.visit(surfaces, wanted):
            one = entrants[number]
            one.least = min(one.least, float(values.min()))
            one.most = max(one.most, float(values.max()))


def _promising(one: _Entrant) -> NDArray[np.bool_]:
    """The tile that is all low, the one that is all high, and the furthest bounds."""
    few = max(1, round(_FIRST_01 * one.low.size))
    furthest_low = np.partition(one.low, few - 1, axis=None)[few - 1]
    furthest_high = np.partition(one.high, -few, axis=None)[-few]
    wanted = (one.low <= furthest_low) | (one.high >= furthest_high)
    wanted.flat[[one.high.argmin(), one.low.argmax()]] = True
    return np.asarray(wanted)


def _beyond(one: _Entrant) -> NDArray[np.bool_]:
    """Tiles that could hold a value beyond those that were found."""
    return np.asarray((one.low < one.least) | (one.high > one.most))


def _compete_in_tiles(
    tiles: Tiles,
    entrants: Sequence[_Entrant],
    lead: NDArray[np.float64],
    found: Winners,
) -> None:
    """Enter these labels; `lead` is what the labels before reach in every tile."""
    shown = [one for one in entrants if one.span >= _LEAST_SPAN]
    for one in shown:
        found.peaks[one.index] = one.range_01[1]
        np.maximum(lead, one.rescaled(one.low.copy()) - _ROUNDING_01, out=lead)
    wanted = [one.rescaled(one.high.copy()) + _ROUNDING_01 > lead for one in shown]
    surfaces = [one.surface for one in shown]
    for number, values, place in tiles.visit(surfaces, wanted):
        one = shown[number]
        found.enter(one.index, one.rescaled(values), place)
