"""What clicks were answered with lately, since Label Studio stores it late.

A draft is up to 5 s behind. An answer that a person has accepted since is in no
request yet, and the points that led to it are gone: only what is kept here tells that
the next click is on the same object, and what its mask is. A few answers for each task,
for a few minutes, in a bounded number of places.
"""

import json
import logging
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backend.cache import Cache, Slots
from backend.label_studio import ClickRequest
from backend.regions import SeenRegion
from segmenter import MAX_IMAGE_PIXELS

logger = logging.getLogger(__name__)

Mask = NDArray[np.bool_]

_PLACES: Final = 1024
_MOST_OF_A_TASK: Final = 8
_MOST_BYTES: Final = 1 << 19
_TTL_S: Final = 900.0
_ODD: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass(frozen=True, kw_only=True, eq=False)
class RecentAnswer:
    """One object as it was answered last.

    Attributes:
        region: with the answered mask.
        start: what the clicks were solved from, None where there was nothing.
        prompts: ids of the clicks.
        content: of the region as it was stored then, "" where it was not.
        state: of what was stored then.
        user: who asked, None if not known.
        at_s: when, in seconds of the wall clock.
    """

    region: SeenRegion
    start: Mask | None
    prompts: frozenset[str]
    content: str
    state: str
    user: str | None
    at_s: float


class RecentAnswers:
    """Answers by task. Any thread may call; no call raises."""

    def __init__(self, cache: Cache, clock: Callable[[], float] = time.time) -> None:
        """Keep them in `cache`; `clock` is the wall's, which processes share."""
        self._slots = Slots(cache, "answers", _PLACES)
        self._clock = clock

    def get(self, key: str) -> list[RecentAnswer]:
        """Answers for a task that are not too old, oldest first."""
        packed = self._slots.get(key)
        if packed is None or len(packed) > _MOST_BYTES:
            return []
        try:
            found = [_read(entry) for entry in json.loads(packed)]
        # Anybody who can reach an unprotected Redis can write there.
        except (*_ODD, zlib.error) as e:
            logger.warning("Unreadable answers in the cache, left out: %s", e)
            return []
        since_s = self._clock() - _TTL_S
        return [answer for answer in found if answer.at_s > since_s]

    def put(
        self,
        key: str,
        region: SeenRegion,
        *,
        asked: ClickRequest,
        start: Mask | None,
        content: str,
    ) -> None:
        """Keep one answer in place of the last for the same region."""
        answer = RecentAnswer(
            region=region,
            start=start,
            prompts=asked.ids,
            content=content,
            state=asked.state,
            user=asked.user,
            at_s=self._clock(),
        )
        others = [a for a in self.get(key) if a.region.id != region.id]
        kept = [_written(one) for one in [*others, answer][-_MOST_OF_A_TASK:]]
        # Large pictures have large masks: as many are kept as there is room for.
        while len(packed := json.dumps(kept).encode()) > _MOST_BYTES:
            del kept[0]
        self._slots.put(key, packed)


def on_canvas(
    stored: Mapping[str, SeenRegion],
    answers: Sequence[RecentAnswer],
    asked: ClickRequest,
) -> dict[str, SeenRegion]:
    """What the person sees: what is stored, and answers that are not stored yet.

    Args:
        stored: regions by id.
        answers: lately, oldest first.
        asked: the question, whose clicks are solved from before their first answer.
    """
    regions = dict(stored)
    stored_ids = frozenset(str(result.get("id")) for result in asked.seen)
    for answer in answers:
        region, now = answer.region, stored.get(answer.region.id)
        if (now.content if now else "") != answer.content:
            continue  # stored since, with what the person made of it
        if answer.user and asked.user and answer.user != asked.user:
            continue
        if answer.prompts & asked.ids:
            mask = answer.start
        elif _is_turned_down(answer, asked, stored_ids):
            continue
        else:
            mask = region.mask()
        if mask is None:
            regions.pop(region.id, None)
        else:
            regions[region.id] = (now or region).with_mask(mask)
    return regions


def _is_turned_down(
    answer: RecentAnswer, asked: ClickRequest, stored_ids: frozenset[str]
) -> bool:
    """Whether the draft was stored after the answer was refused, or undone.

    One that still holds the clicks was stored before.
    """
    return asked.state != answer.state and not answer.prompts & stored_ids


def _written(answer: RecentAnswer) -> dict[str, Any]:
    region = answer.region
    return {
        "id": region.id,
        "from_name": region.from_name,
        "labels": region.labels,
        "to_name": region.to_name,
        "item_index": region.item_index,
        "size_yx": region.size_yx,
        "mask": _packed(region.mask()),
        "start": _packed(answer.start),
        "prompts": sorted(answer.prompts),
        "content": answer.content,
        "state": answer.state,
        "user": answer.user,
        "at_s": answer.at_s,
    }


def _read(entry: Mapping[str, Any]) -> RecentAnswer:
    rows, columns = entry["size_yx"]
    size_yx = int(rows), int(columns)
    mask = _unpacked(entry["mask"], size_yx)
    if mask is None:
        raise ValueError("an answer without a mask")
    region = SeenRegion(
        id=str(entry["id"]),
        from_name=str(entry["from_name"]),
        labels=tuple(map(str, entry["labels"])),
        to_name=str(entry["to_name"]),
        item_index=int(entry["item_index"]),
        size_yx=size_yx,
    )
    user = entry["user"]
    return RecentAnswer(
        region=region.with_mask(mask),
        start=_unpacked(entry["start"], size_yx),
        prompts=frozenset(map(str, entry["prompts"])),
        content=str(entry["content"]),
        state=str(entry["state"]),
        user=None if user is None else str(user),
        at_s=float(entry["at_s"]),
    )


def _packed(mask: Mask | None) -> str | None:
    if mask is None:
        return None
    return b64encode(zlib.compress(np.packbits(mask).tobytes(), level=1)).decode()


def _unpacked(text: Any, size_yx: tuple[int, int]) -> Mask | None:
    if text is None:
        return None
    n_pixels = size_yx[0] * size_yx[1]
    if not 0 < n_pixels <= MAX_IMAGE_PIXELS or min(size_yx) < 1:
        raise ValueError(f"an answer of {size_yx} pixels")
    n_bytes = -(-n_pixels // 8)
    data = zlib.decompressobj().decompress(b64decode(text), n_bytes + 1)
    if len(data) != n_bytes:
        raise ValueError(f"a mask of {len(data)} bytes in place of {n_bytes}")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=n_pixels)
    return bits.astype(np.bool_).reshape(size_yx)
