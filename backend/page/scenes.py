"""What the playground holds, and what it tells of it: values, no model. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backend.page.images import colour_of, mask_address
from backend.regions import seen_regions
from backend.types import Control, FetchedImage, ImageFile, Turn
from segmenter import ScoreMaps

URGENT: Final = Turn(is_urgent=True)
# Of a region in memory, beside its run lengths.
_REGION_BYTES: Final = 1000

Result = Mapping[str, Any]
# By tag and label: all that is covered, and the scores of what covers it.
_Masks = Mapping[tuple[str, str], tuple[NDArray[np.bool_], list[float]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A picture that somebody has chosen.

    Attributes:
        file: as it was read.
        data: of the task that it is of; None for one of its own.
        project: Label Studio's number of the task's project, as text.
    """

    file: ImageFile
    data: Mapping[str, Any] | None = None
    project: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A picture with what was found in it; never changed, a click makes another.

    Attributes:
        picture: name of the picture.
        config: label config that it was drawn with.
        controls: that drew, with the maps of their labels.
        regions: as Label Studio would store them.
        item_index: page of the task; None for tasks of one picture.
    """

    picture: str
    config: str
    controls: tuple[tuple[Control, ScoreMaps], ...]
    regions: tuple[Result, ...]
    item_index: int | None = None

    @property
    def n_bytes(self) -> int:
        """Of it in memory, about."""
        maps = sum(maps.maps.nbytes for _, maps in self.controls)
        runs = sum(8 * len(r.get("value", {}).get("rle", ())) for r in self.regions)
        return maps + runs + _REGION_BYTES * len(self.regions)


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldFile:
    """A fetcher whose only file was read already, whatever the address.

    Attributes:
        file: that it reads.
        decoder: decodes it.
    """

    file: ImageFile
    decoder: Callable[..., FetchedImage]

    def fetch(self, address: str, **_: Any) -> FetchedImage:
        """See `Fetcher`."""
        return self.decode(self.file)

    def read(self, address: str, **_: Any) -> ImageFile:
        """See `Fetcher`."""
        return self.file

    def is_at_hand(self, address: str) -> bool:
        """See `Fetcher`."""
        return True

    def decode(self, file: ImageFile, **_: Any) -> FetchedImage:
        """See `Fetcher`."""
        return self.decoder(file, turn=URGENT)


def controls_in(scene: Scene) -> list[dict[str, Any]]:
    """What each control looked for and found, as the page's script takes it."""
    masks = _masks(scene)
    n_before = 0
    controls = []
    for number, (control, maps) in enumerate(scene.controls):
        labels = [
            _label_told(
                (number, index), control, maps, masks, colour_of(n_before + index)
            )
            for index in range(len(control.labels))
        ]
        n_before += len(labels)
        controls.append(
            {
                "name": control.from_name,
                "shape": control.shape,
                "threshold": control.cut.threshold_01,
                "presence_threshold": control.cut.presence_threshold_01,
                "boundaries": control.cut.boundaries,
                "labels": labels,
            }
        )
    return controls


def _label_told(
    place: tuple[int, int],
    control: Control,
    maps: ScoreMaps,
    masks: _Masks,
    colour: tuple[int, int, int],
) -> dict[str, Any]:
    index = place[1]
    label = control.labels[index]
    told = {
        "name": label.name,
        "prompts": list(label.prompts),
        "presence": float(maps.presence[index]),
        "peak": float(maps.peaks[index]),
        "colour": "#" + bytes(colour).hex(),
        "map": f"{place[0]}/{index}",
        "threshold": control.threshold_of(label),
        "presence_threshold": control.presence_threshold_of(label),
    }
    found = masks.get((control.from_name, label.name))
    if found is None:
        return told | {"share": 0.0, "score": None, "mask": None}
    mask, scores = found
    return told | {
        "share": float(mask.mean()),
        "score": sum(scores) / len(scores) if scores else None,
        "mask": mask_address(mask, colour),
    }


def _masks(
    scene: Scene,
) -> dict[tuple[str, str], tuple[NDArray[np.bool_], list[float]]]:
    """By tag and label: all that is covered, and the scores of what covers it."""
    scores = {r["id"]: r["score"] for r in scene.regions if "score" in r}
    found: dict[tuple[str, str], tuple[NDArray[np.bool_], list[float]]] = {}
    for region in seen_regions(scene.regions).values():
        mask = region.mask()
        if mask is None:
            continue
        own = [scores[region.id]] if region.id in scores else []
        for label in region.labels:
            before = found.get((region.from_name, label))
            found[region.from_name, label] = (
                (mask, own) if before is None else (before[0] | mask, before[1] + own)
            )
    return found
