"""What a click is worth: `python -m tests.bench.bench_clicks`.

On the pocket model, never evidence about Stable Diffusion. The test split, scenes of 2
to 4 objects with seeds from 1,000,000 up, labels = the objects' words and five absent
ones. An annotator is simulated (see `annotator`). Nothing is chosen on these scenes.
"""

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from segmenter import Click, ScoreMaps, SegmenterOptions, cut_masks, refine_mask
from segmenter.pocket import TEST_SEED_START, Scene, render_scene, render_twins
from segmenter.pocket.words import WORDS
from segmenter.predictor import Segmenter
from tests.bench.annotator import Session, annotate, next_click
from tests.bench.click_times import print_times
from tests.bench.grabcut import grab_cut
from tests.bench.pocket_scenes import load_pocket

_OPTIONS: Final = SegmenterOptions()
_LEVELS: Final = (0.80, 0.85, 0.90)
_N_ABSENT: Final = 5
# The noisy copy: a blur, then noise, in pixels and grey levels.
_BLUR_PX: Final = 0.8
_NOISE: Final = 8.0
# An object of fewer pixels is all but covered.
_LEAST_PIXELS: Final = 30
# The largest circle in a thin object has less than this share of its area.
_THIN_01: Final = 0.2
_TOUCH_PX: Final = 2

Start = Literal["pre-annotation", "blank, label", "blank, no label"]
_Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Item:
    """One object to annotate.

    Attributes:
        image: uint8 (Y, X, 3).
        maps: of the image.
        label: of the object.
        truth: bool (Y, X).
        others: bool (Y, X), the other objects.
        found: bool (Y, X), the label's mask before any click.
    """

    image: NDArray[np.uint8]
    maps: ScoreMaps
    label: int
    truth: _Bools
    others: _Bools
    found: _Bools

    @property
    def is_thin(self) -> bool:
        """Whether no large circle fits."""
        depths = cv2.distanceTransform(
            np.pad(self.truth, 1).astype(np.uint8), cv2.DIST_L2, 5
        )
        return bool(np.pi * depths.max() ** 2 < _THIN_01 * self.truth.sum())

    @property
    def touches(self) -> bool:
        """Whether another object is next to it."""
        brush = np.ones((2 * _TOUCH_PX + 1,) * 2, np.uint8)
        return bool(
            (cv2.dilate(self.truth.astype(np.uint8), brush) & self.others).any()
        )

    def start(self, kind: Start) -> _Bools | None:
        """What is there before the first click."""
        return self.found if kind == "pre-annotation" and self.found.any() else None

    def refine(
        self, clicks: Sequence[Click], start: _Bools | None, *, names: bool = True
    ) -> _Bools:
        """Ours."""
        return refine_mask(
            self.image,
            clicks=clicks,
            start=start,
            maps=self.maps,
            label=self.label if names else None,
            threshold=_OPTIONS.threshold,
            presence_threshold=_OPTIONS.presence_threshold,
        )


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--first-seed", type=int, default=TEST_SEED_START)
    parser.add_argument("--no-times", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    # As a server's worker: one thread.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    console = Console(width=150)
    segmenter = load_pocket().segmenter(_OPTIONS)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.scenes)
    # 2 to 4 are wanted, and as many as found room are there.
    scenes = [render_scene(seed, n_objects=2 + seed % 3) for seed in seeds]
    clean = list(track(_items(segmenter, scenes), transient=True, console=console))
    noisy = list(_items(segmenter, scenes, is_noisy=True))
    twins = list(_items(segmenter, [render_twins(seed) for seed in seeds]))
    print_sessions(console, clean, noisy)
    print_twins(console, twins)
    if not arguments.no_times:
        print_times(console, clean[0].image, clean[0].maps, _OPTIONS)


def _items(
    segmenter: Segmenter, scenes: Sequence[Scene], *, is_noisy: bool = False
) -> Sequence[Item]:
    items = []
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng(number)
        absent = [str(w) for w in rng.permutation(WORDS) if w not in scene.words]
        asked = [*dict.fromkeys(scene.words), *absent[:_N_ABSENT]]
        labels = tuple(asked[place] for place in rng.permutation(len(asked)))
        image = _noisy(scene.image, rng) if is_noisy else scene.image
        (maps,) = segmenter.score([image], [labels])
        cut = cut_masks(
            maps,
            threshold=_OPTIONS.threshold,
            presence_threshold=_OPTIONS.presence_threshold,
            pixels=image,
        )
        for place, word in enumerate(scene.words):
            truth = scene.visible[place]
            if truth.sum() >= _LEAST_PIXELS:
                label = labels.index(word)
                items.append(
                    Item(
                        image=image,
                        maps=maps,
                        label=label,
                        truth=truth,
                        others=np.delete(scene.visible, place, 0).any(axis=0),
                        found=cut.mask(label),
                    )
                )
    return items


def _noisy(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    blurred = cv2.GaussianBlur(image, (0, 0), _BLUR_PX)
    noise = rng.normal(0, _NOISE, image.shape)
    return np.asarray(np.clip(blurred + noise, 0, 255), np.uint8)


def print_sessions(
    console: Console, clean: Sequence[Item], noisy: Sequence[Item]
) -> None:
    """How many clicks every engine and start needs."""
    table = _table(f"{len(clean)} objects of the pocket test split")
    thin = [item for item in clean if item.is_thin]
    touching = [item for item in clean if item.touches]
    ours: dict[Start, list[Session]] = {}
    for kind in ("pre-annotation", "blank, label", "blank, no label"):
        start: Start = kind
        ours[start] = [_session(item, start) for item in clean]
        table.add_row(f"clicks, {start}", *_cells(ours[start]))
    table.add_row(
        "clicks one by one, pre-annotation", *_cells([_one_by_one(i) for i in clean])
    )
    for start in ("pre-annotation", "blank, label"):
        sessions = [_session(item, start, _grab_cut) for item in clean]
        name = "pre-annotation" if start == "pre-annotation" else "blank"
        table.add_row(f"GrabCut, {name}", *_cells(sessions))
    for name, items in (
        (f"thin objects ({len(thin)})", thin),
        (f"objects that touch others ({len(touching)})", touching),
        ("noisy, blurred copy", noisy),
    ):
        if not items:
            continue
        sessions = [_session(item, "pre-annotation") for item in items]
        table.add_row(f"{name}, pre-annotation", *_cells(sessions))
    sessions = [_session(item, "pre-annotation", _grab_cut) for item in noisy]
    table.add_row("noisy, blurred copy, GrabCut", *_cells(sessions))
    console.print(table)
    saved = [
        1 - _noc(ours["pre-annotation"], level) / _noc(ours["blank, label"], level)
        for level in _LEVELS
    ]
    console.print(
        "Clicks that the pre-annotation saves: "
        + " / ".join(f"{100 * share:.0f} %" for share in saved)
    )


def print_twins(console: Console, twins: Sequence[Item]) -> None:
    """Two objects of one label that touch."""
    table = _table(f"{len(twins)} objects, each touching another of its label")
    table.add_column("first click takes one")
    for kind in ("blank, label", "blank, no label", "pre-annotation"):
        start: Start = kind
        takes = ""
        if start != "pre-annotation":
            alone = [_takes_one(item, names=start == "blank, label") for item in twins]
            takes = f"{100 * float(np.mean(alone)):.0f} %"
        sessions = [_session(item, start) for item in twins]
        table.add_row(f"clicks, {start}", *_cells(sessions), takes)
    console.print(table)


def _takes_one(item: Item, *, names: bool) -> bool:
    """Whether a first click finds half of its object, and of the other hardly any."""
    click = next_click(np.zeros_like(item.truth), item.truth)
    mask = item.refine([click], None, names=names)
    return bool(
        (mask & item.truth).sum() >= 0.5 * item.truth.sum()
        and (mask & item.others).sum() < 0.25 * item.others.sum()
    )


_Engine = Callable[[Item, Sequence[Click], _Bools | None], _Bools]


def _grab_cut(item: Item, clicks: Sequence[Click], start: _Bools | None) -> _Bools:
    return grab_cut(item.image, clicks, start)


def _session(item: Item, kind: Start, engine: _Engine | None = None) -> Session:
    start = item.start(kind)

    def refine(clicks: Sequence[Click]) -> _Bools:
        if engine is not None:
            return engine(item, clicks, start)
        return item.refine(clicks, start, names=kind != "blank, no label")

    return annotate(item.truth, start, refine, until=_LEVELS[-1])


def _one_by_one(item: Item) -> Session:
    """Every click alone, on what the last one made, as with Auto-Accept."""
    start = item.start("pre-annotation")
    seen = start

    def refine(clicks: Sequence[Click]) -> _Bools:
        nonlocal seen
        seen = item.refine(clicks[-1:], seen)
        return seen

    return annotate(item.truth, start, refine, until=_LEVELS[-1])


def _table(title: str) -> Table:
    table = Table(title=title, box=None)
    for heading in (
        "engine and start",
        "clicks to IoU .80 / .85 / .90",
        "never .80 / .90",
        "IoU after 0 / 1 / 2 / 3 / 5",
        "clicks that lose > 0.1",
    ):
        table.add_column(heading)
    return table


def _noc(sessions: Sequence[Session], level: float) -> float:
    return float(np.mean([session.needed(level) for session in sessions]))


def _cells(sessions: Sequence[Session]) -> list[str]:
    ious = [np.mean([s.iou_after(n) for s in sessions]) for n in (0, 1, 2, 3, 5)]
    lost = [
        before - after > 0.1
        for session in sessions
        for before, after in zip(session.ious, session.ious[1:], strict=False)
    ]
    return [
        " / ".join(f"{_noc(sessions, level):.2f}" for level in _LEVELS),
        " / ".join(
            str(sum(max(s.ious) < level for s in sessions))
            for level in (_LEVELS[0], _LEVELS[-1])
        ),
        " / ".join(f"{iou:.3f}".lstrip("0") for iou in ious),
        f"{100 * float(np.mean(lost)):.1f} % of {len(lost)}",
    ]


if __name__ == "__main__":
    main()
