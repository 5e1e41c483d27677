"""Images and prompts in, score maps out: the cache first, the model for the rest.

Knows neither tasks nor label configs. What goes wrong with one image is returned
in its place, so that the others go on.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backend.cache import Cache, score_key
from backend.metrics import Metrics
from backend.score_codec import UnreadableScores, decode_score_maps, encode_score_maps
from backend.values import FetchedImage
from segmenter import ScoreMaps

logger = logging.getLogger(__name__)


class MapMaker(Protocol):
    """What this file needs of a segmenter."""

    def score(
        self, images: Sequence[NDArray[np.uint8]], labels: Sequence[Sequence[str]]
    ) -> list[ScoreMaps]:
        """Score maps of every image."""


class OutOfTime(Exception):
    """The deadline came before the image's turn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """One image and what is to be found in it.

    Attributes:
        image: upright.
        prompts: each once.
    """

    image: FetchedImage
    prompts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scorer:
    """Makes score maps, or finds them in the cache.

    Attributes:
        cache: score maps between requests.
        metrics: counters.
        maps_fingerprint: of weights and all options that change a score map.
        clock: monotonic seconds.
    """

    cache: Cache
    metrics: Metrics
    maps_fingerprint: str
    clock: Callable[[], float] = time.monotonic
    # The model computes for one request at a time; whoever waits for it does so
    # here, where the deadline is known.
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def score(
        self, queries: Sequence[Query], segmenter: MapMaker, deadline: float
    ) -> Iterator[ScoreMaps | Exception]:
        """Score maps of each query as soon as they are there, or why there are none.

        Args:
            queries: answered in order; the cache is asked for all of them at once.
            segmenter: for those that the cache does not hold.
            deadline: on `clock`; the segmenter is not started after it, which
                gives `OutOfTime`.
        """
        keys = [self._key(query) for query in queries]
        known: dict[str, ScoreMaps | Exception] = {}
        for key, query, packed in zip(
            keys, queries, self.cache.get_many(keys), strict=True
        ):
            maps = _unpack(packed, query)
            if maps is not None:
                known[key] = maps
        for key, query in zip(keys, queries, strict=True):
            if key not in known:
                known[key] = self._segment(query, key, segmenter, deadline)
            yield known[key]

    def _key(self, query: Query) -> str:
        return score_key(
            image_digest=query.image.digest,
            prompts=query.prompts,
            model=self.maps_fingerprint,
        )

    def _segment(
        self, query: Query, key: str, segmenter: MapMaker, deadline: float
    ) -> ScoreMaps | Exception:
        left_s = deadline - self.clock()
        if left_s <= 0 or not self._turn.acquire(timeout=left_s):
            return OutOfTime()
        try:
            if self.clock() >= deadline:
                return OutOfTime()
            (maps,) = segmenter.score([query.image.pixels], [query.prompts])
        # The border to the model: running out of GPU memory, or a fault in a library
        # below, cost this image and not its batch.
        except Exception as error:
            return error
        finally:
            self._turn.release()
        self.metrics.images_segmented.inc()
        return self._remember(key, maps, query)

    def _remember(
        self, key: str, maps: ScoreMaps, query: Query
    ) -> ScoreMaps | Exception:
        """Store, and go on with what was stored.

        Packing rounds. Cutting the packed copy now makes today's answer and the
        one from the cache the same to the pixel.
        """
        if not np.isfinite(maps.maps).all() or not np.isfinite(maps.presence).all():
            return ValueError("the model's scores are not numbers")
        try:
            packed = encode_score_maps(
                maps.maps, maps.presence, maps.labels, maps.size_yx
            )
        except ValueError as error:
            logger.warning("Scores are not cached and cost the model again: %s", error)
            return maps
        self.cache.put(key, packed)
        return _unpack(packed, query) or maps


def _unpack(packed: bytes | None, query: Query) -> ScoreMaps | None:
    """Score maps out of cached bytes; anything doubtful is a miss."""
    if packed is None:
        return None
    try:
        cached = decode_score_maps(packed)
    except UnreadableScores as error:
        logger.warning(
            "A cached value was not readable and counts as a miss: %s", error
        )
        return None
    is_of_image = cached.size_yx == query.image.pixels.shape[:2]
    if len(cached.maps) != len(query.prompts) or not is_of_image:
        return None
    return ScoreMaps(
        labels=query.prompts,
        maps=cached.maps,
        presence=cached.presence,
        size_yx=cached.size_yx,
    )
