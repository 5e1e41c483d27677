"""What corrections teach: `python -m tests.bench.bench_heads`.

On the pocket model, never evidence about Stable Diffusion. Scenes of the test split
from seed 1,500,000 up: a stream of corrected scenes, in each of which all 24 labels
are looked for, and other scenes on which what was learnt is judged. Nothing is chosen
on these scenes. As long as other work leaves it a core it takes 20 minutes.
"""

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from segmenter import (
    Example,
    Heads,
    ScoreMaps,
    Segmentation,
    SegmenterOptions,
    apply_heads,
    cut_masks,
    estimate_ious,
    fit_heads,
    make_example,
)
from segmenter.evaluation.counts import IouCounts, to_class_map
from segmenter.pocket import Scene, render_scene
from segmenter.pocket.words import WORDS
from segmenter.predictor import Segmenter
from tests.bench.annotator import iou_of
from tests.bench.pocket_scenes import N_CLASSES, load_pocket

_FIRST_SEED: Final = 1_500_000
_OPTIONS: Final = SegmenterOptions()
# fmt: off
_UNKNOWN: Final = (
    "zork", "blim", "quaffle", "dren", "vusk", "plotz",
    "grom", "snerf", "tazzle", "yib", "morv", "kepple",
)
# fmt: on
_SHOWN: Final = (3, 5, 10)
_SCENES: Final = (5, 20, 50, 100)
_SCENES_ELSEWHERE: Final = (5, 20, 50)
# In each order the stream is another one. Of unknown names each has a stream, too.
_ORDERS: Final = 5
_ORDERS_ELSEWHERE: Final = 3
_ORDERS_UNKNOWN: Final = 2

_Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Item:
    """One scene under the names that its labels have.

    Attributes:
        scene: whose words are replaced by names.
        image: as it looks in its domain.
        maps: of all names.
    """

    scene: Scene
    image: NDArray[np.uint8]
    maps: ScoreMaps
    names: dict[str, str]

    @property
    def masks(self) -> dict[str, _Bools]:
        """What a person leaves."""
        pairs = zip(self.scene.words, self.scene.visible, strict=True)
        return {self.names[word]: mask for word, mask in pairs if mask.any()}

    @cached_property
    def example(self) -> Example:
        """What it teaches."""
        return make_example(self.maps, self.masks)

    def cut(self, heads: Heads | None = None) -> Segmentation:
        """Masks of words alone, or of heads as well."""
        return cut_masks(
            self.maps if heads is None else apply_heads(self.maps, heads),
            threshold=_OPTIONS.threshold,
            presence_threshold=_OPTIONS.presence_threshold,
            pixels=self.image,
        )


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--first-seed", type=int, default=_FIRST_SEED)
    parser.add_argument("--scenes", type=int, default=80, help="to judge on")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    console = Console(width=150)
    bench = _Bench(console, load_pocket().segmenter(_OPTIONS), arguments)
    bench.unknown_names()
    judged = bench.known_names("clean", 150, _SCENES)
    for look in ("grey", "faded", "blurred"):
        bench.known_names(look, 80, _SCENES_ELSEWHERE)
    bench.triage(judged)
    bench.costs(judged)


def look_of(image: NDArray[np.uint8], look: str) -> NDArray[np.uint8]:
    """An image as another domain shows it."""
    if look == "grey":
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))
    if look == "faded":
        faded = 158 + (image.astype(np.float32) - 128) * 0.35
        return np.clip(faded, 0, 255).astype(np.uint8)
    if look == "blurred":
        return np.asarray(cv2.GaussianBlur(image, (0, 0), 2.0))
    return image


class _Bench:
    def __init__(
        self, console: Console, segmenter: Segmenter, arguments: argparse.Namespace
    ) -> None:
        self._console = console
        self._segmenter = segmenter
        self._first = int(arguments.first_seed)
        self._n_judged = int(arguments.scenes)

    def unknown_names(self) -> None:
        """12 of the words renamed; each judged when it was shown so often."""
        chosen = np.random.default_rng(14).permutation(WORDS)[: len(_UNKNOWN)]
        names = {word: word for word in WORDS} | dict(
            zip(map(str, chosen), _UNKNOWN, strict=True)
        )
        judged = self._items(0, self._n_judged, names)
        stream = self._items(self._n_judged, 300, names)
        default = [item.cut() for item in judged]
        table = _table(
            f"{len(_UNKNOWN)} unknown names, judged on {len(judged)} scenes",
            "corrected scenes that show it",
            "scenes in all",
            "heads applied",
            "IoU",
            "of each order",
            "drawn where it is not",
            "other labels",
        )
        zero = [_judge(judged, default, default, name) for name in _UNKNOWN]
        table.add_row("0", "0", "none", *_unknown_cells([zero]), "")
        for n_shown in _SHOWN:
            every, alone, lengths = [], [], []
            for order in range(_ORDERS_UNKNOWN):
                shuffled = _shuffled(stream, order)
                every.append([])
                for name in _UNKNOWN:
                    taught = _until_shown(shuffled, name, n_shown)
                    lengths.append(len(taught))
                    heads = fit_heads([one.example for one in taught])
                    cuts = [item.cut(heads) for item in judged]
                    every[-1].append(_judge(judged, cuts, default, name))
                    if order == 0:
                        cuts = [item.cut(_only(heads, name)) for item in judged]
                        alone.append(_judge(judged, cuts, default, name))
            counts = str(n_shown), f"{np.mean(lengths):.0f}"
            table.add_row(*counts, "all labels'", *_unknown_cells(every), "")
            others = 100 * np.mean([change for _, _, change in alone])
            table.add_row(
                *counts, "its own", *_unknown_cells([alone]), f"{others:+.2f} points"
            )
        self._console.print(table)

    def known_names(
        self, look: str, n_stream: int, counts: Sequence[int]
    ) -> list[Item]:
        """24 known words, all looked for in every scene."""
        names = {word: word for word in WORDS}
        start = 10_000 + 1_000 * len(look)
        judged = self._items(start, self._n_judged, names, look)
        stream = self._items(start + self._n_judged, n_stream, names, look)
        default = _miou(judged, None)
        clean, title = default, f"24 known names: mIoU {100 * default:.1f}"
        if look != "clean":
            clean = _miou(self._items(start, self._n_judged, names), None)
            title += f" in {look} scenes, {100 * clean:.1f} in the same ones clean"
        table = _table(
            f"{title}, by words alone",
            "corrected scenes",
            "gain in points",
            "of each order",
            "labels taught",
            "of the gap",
        )
        for count in counts:
            heads = [
                fit_heads([one.example for one in _shuffled(stream, order)[:count]])
                for order in range(_ORDERS if look == "clean" else _ORDERS_ELSEWHERE)
            ]
            gains = [100 * (_miou(judged, one) - default) for one in heads]
            taught = [sum(one.weight_01 > 0 for one in each.labels) for each in heads]
            table.add_row(
                str(count),
                f"{np.mean(gains):+.1f}",
                " / ".join(f"{gain:+.1f}" for gain in gains),
                f"{np.mean(taught):.0f}",
                f"{np.mean(gains) / (clean - default):.0f} %"
                if clean > default
                else "",
            )
        self._console.print(table)
        return judged

    def triage(self, asked_all: Sequence[Item]) -> None:
        """Whether a score puts bad masks first."""
        table = _table(
            "Triage", "masks of", "masks", "bad", "score", "Spearman", "found in 20 %"
        )
        usual = [self._usual(index, item.scene) for index, item in enumerate(asked_all)]
        for title, items in (("24 labels", asked_all), ("own and 5 others", usual)):
            ious, before, now = [], [], []
            for item in items:
                cut = item.cut()
                shown = np.flatnonzero(cut.shares > 0)
                before += cut.scores[shown].tolist()
                now += estimate_ious(item.maps, cut)[shown].tolist()
                nothing = np.zeros(item.image.shape[:2], np.bool_)
                ious += [
                    iou_of(cut.mask(index), item.masks.get(cut.labels[index], nothing))
                    for index in shown.tolist()
                ]
            bad = np.array(ious) < 0.5
            for score, values in (("mean score", before), ("estimate_ious", now)):
                worst = np.argsort(values, kind="stable")[: round(0.2 * len(values))]
                table.add_row(
                    title,
                    str(len(ious)),
                    f"{100 * bad.mean():.0f} %",
                    score,
                    f"{_spearman(values, ious):.2f}",
                    f"{100 * bad[worst].sum() / bad.sum():.0f} % "
                    f"(at most {100 * min(1, len(worst) / bad.sum()):.0f} %)",
                )
        self._console.print(table)

    def costs(self, items: Sequence[Item]) -> None:
        """Seconds and bytes."""
        examples = [item.example for item in items]
        # As many different ones as are wanted: each with one row of layers blanked.
        many = []
        for index in range(1000):
            item = items[index % len(items)]
            layers = item.maps.layers
            assert layers is not None
            changed = layers.copy()
            changed[index // len(items)] = 0
            maps = ScoreMaps(
                labels=item.maps.labels,
                maps=item.maps.maps,
                presence=item.maps.presence,
                size_yx=item.maps.size_yx,
                layers=changed,
            )
            many.append(make_example(maps, item.masks))
        for some in (examples[:10], examples[:100], many):
            [one.to_bytes() for one in some]
            start = time.perf_counter()
            heads = fit_heads(some)
            seconds = time.perf_counter() - start
            self._console.print(f"fit of {len(some)} examples: {seconds:.1f} s")
        start = time.perf_counter()
        for item in items[:50]:
            apply_heads(item.maps, heads)
        seconds = (time.perf_counter() - start) / 50
        layers = items[0].maps.layers
        assert layers is not None
        self._console.print(
            f"apply 24 heads: {1000 * seconds:.0f} ms; layers {layers.nbytes} bytes, "
            f"example {np.mean([len(one.to_bytes()) for one in examples]):.0f}, "
            f"heads {len(heads.to_bytes()) / len(heads.labels):.0f} a label"
        )

    def _items(
        self, start: int, count: int, names: dict[str, str], look: str = "clean"
    ) -> list[Item]:
        labels = tuple(names[word] for word in WORDS)
        items = []
        for seed in range(self._first + start, self._first + start + count):
            scene = render_scene(seed)
            image = look_of(scene.image, look)
            (maps,) = self._segmenter.score([image], [labels])
            items.append(Item(scene=scene, image=image, maps=maps, names=names))
        return items

    def _usual(self, number: int, scene: Scene) -> Item:
        """The scene with its own words and five others looked for."""
        rng = np.random.default_rng(number)
        others = [str(w) for w in rng.permutation(WORDS) if w not in scene.words]
        asked = rng.permutation([*scene.words, *others[:5]]).tolist()
        (maps,) = self._segmenter.score([scene.image], [asked])
        return Item(
            scene=scene, image=scene.image, maps=maps, names={w: w for w in WORDS}
        )


def _shuffled(stream: Sequence[Item], order: int) -> list[Item]:
    rng = np.random.default_rng(order)
    return [stream[index] for index in rng.permutation(len(stream))]


def _until_shown(stream: Sequence[Item], name: str, count: int) -> list[Item]:
    """The stream, up to the scene that shows a name for the so manyth time."""
    shows = [index for index, item in enumerate(stream) if name in item.masks]
    return list(stream[: shows[count - 1] + 1])


def _only(heads: Heads, name: str) -> Heads:
    return Heads(labels=tuple(one for one in heads.labels if one.label == name))


def _judge(
    items: Sequence[Item],
    cuts: Sequence[Segmentation],
    before: Sequence[Segmentation],
    name: str,
) -> tuple[float, float, float]:
    """Mean IoU where a name is, share of others with it, what others' IoU gains."""
    ious, drawn, others = [], [], []
    for item, cut, first in zip(items, cuts, before, strict=True):
        mask = cut.mask(cut.labels.index(name))
        if name in item.masks:
            ious.append(iou_of(mask, item.masks[name]))
        else:
            drawn.append(bool(mask.any()))
        for other, truth in item.masks.items():
            index = cut.labels.index(other)
            if other != name:
                gain = iou_of(cut.mask(index), truth) - iou_of(first.mask(index), truth)
                others.append(gain)
    return float(np.mean(ious)), float(np.mean(drawn)), float(np.mean(others))


def _unknown_cells(orders: Sequence[Sequence[tuple[float, float, float]]]) -> list[str]:
    found = np.array(orders).mean(axis=1)  # (orders, 3)
    return [
        f"{found[:, 0].mean():.3f}",
        " / ".join(f"{iou:.3f}" for iou in found[:, 0]),
        f"{100 * found[:, 1].mean():.1f} %",
    ]


def _miou(items: Sequence[Item], heads: Heads | None) -> float:
    counts = IouCounts(N_CLASSES)
    for item in items:
        counts.add(item.scene.class_map, to_class_map(item.cut(heads), WORDS))
    return counts.mean()


def _spearman(first: Sequence[float], second: Sequence[float]) -> float:
    ranks = [
        np.argsort(np.argsort(values, kind="stable")) for values in (first, second)
    ]
    return float(np.corrcoef(*ranks)[0, 1])


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, box=None)
    for heading in headings:
        table.add_column(heading)
    return table


if __name__ == "__main__":
    main()
