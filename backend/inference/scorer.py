"""Images and prompts in, score maps out: the cache first, the model for the rest.

Knows neither tasks nor label configs. What goes wrong with one image is returned
in its place, so that the others go on.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backend.cache import (
    LEASE_TTL_S,
    Cache,
    EncodingStore,
    FeatureStore,
    LeasedElsewhere,
    UnreadableScores,
    decode_score_maps,
    encode_score_maps,
    hold_leases,
    poll_intervals_s,
    score_key,
)
from backend.inference.batcher import DeadlineExceeded, MicroBatcher, WorkItem
from backend.inference.metrics import Metrics
from backend.types import FetchedImage
from segmenter import ImageEncoding, Mode, ScoreMaps, SegmenterOptions

logger = logging.getLogger(__name__)


class Segmenter(Protocol):
    """What this file needs of a segmenter."""

    @property
    def images_per_pass(self) -> int:
        """Images that are best given together."""

    def score(
        self,
        images: Sequence[NDArray[np.uint8]],
        labels: Sequence[Sequence[str]],
        *,
        options: SegmenterOptions | None = None,
        encodings: Sequence[ImageEncoding | None] | None = None,
        reads_cells: bool = True,
    ) -> list[ScoreMaps]:
        """Score maps of every image; `encodings` are what is known of each.

        Without `reads_cells` they have neither features nor layers.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """One image and what is to be found in it.

    Attributes:
        image: upright.
        prompts: each once.
        mode: how they are to be read.
        presence_threshold_01: the lowest presence that any of them is drawn at; None
            for the options'. Paper mode makes no maps of labels below the options'.
        for_clicks: somebody may click on the image: what its pass knew beside the maps
            is kept, and given with maps that were kept.
        needs_layers: the maps are of use only with what heads read of the image; maps
            that were kept without that are as good as none.
        is_read_anew: whether a pass is wanted whatever is kept.
    """

    image: FetchedImage
    prompts: tuple[str, ...]
    mode: Mode
    presence_threshold_01: float | None = None
    for_clicks: bool = False
    needs_layers: bool = False
    is_read_anew: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Scorer:
    """Makes score maps, or finds them in the cache.

    Attributes:
        cache: score maps between requests.
        metrics: counters.
        weights_fingerprint: of the model.
        options: of each mode.
        features: what passes knew of images beside score maps; None keeps none.
        layers: what heads read of images, kept of those that somebody looks at or that
            heads are asked for; None keeps none.
        encodings: what encoders made of images, whatever the labels; None keeps none.
        clock: monotonic seconds.
        lease_ttl_s: how long others wait for a process that died while it computed.
    """

    cache: Cache
    metrics: Metrics
    weights_fingerprint: str
    options: Mapping[Mode, SegmenterOptions]
    features: FeatureStore | None = None
    layers: FeatureStore | None = None
    encodings: EncodingStore | None = None
    clock: Callable[[], float] = time.monotonic
    lease_ttl_s: float = LEASE_TTL_S
    _batches: MicroBatcher[Query, ScoreMaps] = field(init=False)

    def __post_init__(self) -> None:
        """Share one line for the model between all requests."""
        object.__setattr__(self, "_batches", MicroBatcher(self.clock))

    def score(
        self,
        queries: Sequence[Query],
        segmenter: Segmenter,
        deadline: float,
        *,
        is_urgent: bool = False,
        rank: int = 0,
    ) -> Iterator[ScoreMaps | Exception]:
        """Score maps of each query as soon as they are there, or why there are none.

        Args:
            queries: answered in order; the cache is asked for all of them at once.
            segmenter: for those that the cache does not hold, which share passes
                with each other and with those of other requests. What another
                process computes meanwhile is awaited, not computed.
            deadline: on `clock`; the segmenter is not started after it, which
                gives `DeadlineExceeded`.
            is_urgent: somebody waits for this alone; it goes before what is not.
            rank: goes before what has a higher one.
        """
        if not queries:
            return
        keys = [self._key(query) for query in queries]
        known: dict[str, ScoreMaps | Exception] = {}
        for key, query, packed in zip(
            keys, queries, self.cache.get_many(keys), strict=True
        ):
            maps = self._complete(packed, key, query)
            self._count(query, packed, maps)
            if maps is not None and not query.is_read_anew:
                known[key] = maps
        items = {
            key: WorkItem(
                work=query,
                key=(key, query.needs_layers),
                kind=self._options(query),
                deadline=deadline,
                is_urgent=is_urgent,
                rank=rank,
            )
            for key, query in zip(keys, queries, strict=True)
            if key not in known
        }
        request = _Request(items=items, known=known)
        self._batches.submit(list(items.values()))
        try:
            for index, query in enumerate(queries):
                answer = self._answer(request, keys[index:], segmenter)
                yield _named_for(query, answer)
        finally:
            self._batches.withdraw(list(request.items.values()))

    def cached(self, query: Query) -> ScoreMaps | None:
        """Score maps that need no model, None where it takes one."""
        key = self._key(query)
        packed = self.cache.get(key)
        maps = self._complete(packed, key, query)
        self._count(query, packed, maps)
        return maps

    @property
    def n_waiting(self) -> int:
        """Images that wait for the model."""
        return self._batches.n_waiting

    def lacks_features(self, query: Query) -> bool:
        """Whether a pass might tell more of the image than is kept."""
        return self.features is not None and self.features.get(self._key(query)) is None

    def maps_name(self, mode: Mode) -> str:
        """Names what makes maps and layers of a mode; others are not to be mixed."""
        fingerprint = self.options[mode].maps_fingerprint()
        return f"{self.weights_fingerprint}:{fingerprint}"

    def _complete(
        self, packed: bytes | None, key: str, query: Query
    ) -> ScoreMaps | None:
        """Kept maps with all that the query needs; None where that takes a pass."""
        maps = _unpack(packed, query)
        if maps is None:
            return None
        if query.needs_layers:
            layers = None if self.layers is None else self.layers.get(key)
            if layers is None:
                return None
            maps = replace(maps, layers=layers if layers.size else None)
        if self.features is not None and query.for_clicks:
            features = self.features.get(key)
            has_any = features is not None and features.size > 0
            maps = replace(maps, features=features if has_any else None)
        return maps

    def _count(
        self, query: Query, packed: bytes | None, maps: ScoreMaps | None
    ) -> None:
        """Count what was looked for, and what of it was found."""
        self.metrics.note_kept("maps", is_found=packed is not None)
        if packed is not None and query.needs_layers:
            self.metrics.note_kept("layers", is_found=maps is not None)
        if maps is not None and query.for_clicks and self.features is not None:
            self.metrics.note_kept("features", is_found=maps.features is not None)

    def _answer(
        self, request: "_Request", keys: Sequence[str], segmenter: Segmenter
    ) -> ScoreMaps | Exception:
        """The answer to the first of `keys`.

        While another process computes it, those behind it are computed here.
        """
        first, known, elsewhere = keys[0], request.known, request.elsewhere
        pauses = poll_intervals_s()
        while first not in known:
            here = next(
                (k for k in keys if k not in known and k not in elsewhere), None
            )
            if here is not None:
                answer = self._batches.result(
                    request.items[here],
                    lambda batch: self._segment(batch, segmenter),
                    most=segmenter.images_per_pass,
                )
                if isinstance(answer, LeasedElsewhere):
                    elsewhere.add(here)
                else:
                    known[here] = answer
            elif self.clock() < request.items[first].deadline:
                time.sleep(next(pauses))
            else:
                known[first] = DeadlineExceeded()
            if first in elsewhere:
                self._look(request, first)
        return known[first]

    def _look(self, request: "_Request", key: str) -> None:
        """Take what another process has stored, or its place if it gave up."""
        item = request.items[key]
        state = self.cache.peek(key)
        maps = self._complete(state.value, key, item.work)
        if maps is not None:
            request.known[key] = maps
        elif not state.is_leased:
            self._batches.withdraw([item])
            request.items[key] = replace(item)
            self._batches.submit([request.items[key]])
            request.elsewhere.remove(key)

    def _key(self, query: Query) -> str:
        return score_key(
            image_digest=query.image.digest,
            prompts=query.prompts,
            model=f"{self.weights_fingerprint}:"
            f"{self._options(query).maps_fingerprint()}",
        )

    def _options(self, query: Query) -> SegmenterOptions:
        """Those of the query's mode, as far as it does not draw more labels."""
        options, threshold = self.options[query.mode], query.presence_threshold_01
        # Fast mode makes maps of all labels, whatever the threshold.
        leaves_out = options.mode == "paper" and options.presence != "off"
        if threshold is None or not leaves_out:
            return options
        lower = min(threshold, options.presence_threshold)
        return replace(options, presence_threshold=lower)

    def _segment(
        self, batch: Sequence[Query], segmenter: Segmenter
    ) -> list[ScoreMaps | Exception]:
        """Ask the model for what nobody else computes or has computed.

        What it says is stored even if nobody waits any longer.
        """
        keys = [self._key(query) for query in batch]
        wanted: dict[str, Query] = {}
        for key, query in zip(keys, batch, strict=True):
            # Of two that want the same, the one that wants more speaks for both.
            if key not in wanted or query.needs_layers:
                wanted[key] = query
        with hold_leases(self.cache, list(wanted), ttl_s=self.lease_ttl_s) as states:
            answers: dict[str, ScoreMaps | Exception] = {}
            missing: dict[str, Query] = {}
            for (key, query), state in zip(wanted.items(), states, strict=True):
                maps = self._complete(state.value, key, query)
                if maps is not None and not query.is_read_anew:
                    answers[key] = maps
                elif state.is_leased:
                    answers[key] = LeasedElsewhere()
                else:
                    missing[key] = query
            answers.update(self._compute(missing, segmenter))
        return [answers[key] for key in keys]

    def _compute(
        self, queries: Mapping[str, Query], segmenter: Segmenter
    ) -> dict[str, ScoreMaps | Exception]:
        """One pass of the model, by key."""
        if not queries:
            return {}
        batch = list(queries.values())
        encodings = [self._encoding(query) for query in batch]
        scored = segmenter.score(
            [query.image.pixels for query in batch],
            [query.prompts for query in batch],
            options=self._options(batch[0]),
            encodings=encodings,
            reads_cells=any(one.for_clicks or one.needs_layers for one in batch),
        )
        self.metrics.images_segmented.inc(len(batch))
        self.metrics.encodings_known.inc(len(batch) - encodings.count(None))
        self.metrics.passes.observe(len(batch))
        return {
            key: self._remember(maps, query)
            for (key, query), maps in zip(queries.items(), scored, strict=True)
        }

    def _encoding(self, query: Query) -> ImageEncoding | None:
        """What is kept of the image, whatever was looked for in it."""
        if self.encodings is None:
            return None
        return self.encodings.get(self._encoding_key(query))

    def _encoding_key(self, query: Query) -> str:
        fingerprint = self._options(query).encoding_fingerprint()
        return f"{query.image.digest}:{self.weights_fingerprint}:{fingerprint}"

    def _remember(self, maps: ScoreMaps, query: Query) -> ScoreMaps | Exception:
        """Store, and go on with what was stored.

        Packing rounds. Cutting the packed copy now makes today's answer and the
        one from the cache the same to the pixel.
        """
        key = self._key(query)
        if self.encodings is not None and maps.encoding is not None:
            self.encodings.put(self._encoding_key(query), maps.encoding)
        if not np.isfinite(maps.maps).all() or not np.isfinite(maps.presence).all():
            return ValueError("the model's scores are not numbers")
        try:
            packed = encode_score_maps(
                maps.maps, maps.presence, maps.labels, maps.size_yx
            )
        except ValueError as error:
            logger.warning(
                "Score maps cannot be cached: %s They are computed anew each time.",
                error,
            )
            return maps
        self.cache.put(key, packed)
        if self.features is not None and query.for_clicks:
            self.features.put(key, maps.features)
        # Who opens a task is likely to correct it.
        if self.layers is not None and (query.for_clicks or query.needs_layers):
            self.layers.put(key, maps.layers)
        return replace(
            _unpack(packed, query) or maps,
            features=maps.features if query.for_clicks else None,
            layers=maps.layers if query.needs_layers else None,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Request:
    """What one caller asked for, all by key.

    Attributes:
        items: in the model's line.
        known: answers.
        elsewhere: what another process was seen to compute.
    """

    items: dict[str, WorkItem[Query]]
    known: dict[str, ScoreMaps | Exception] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)


def _named_for(query: Query, maps: ScoreMaps | Exception) -> ScoreMaps | Exception:
    """The maps under the query's own spelling of its prompts (see `score_key`)."""
    if isinstance(maps, Exception) or maps.labels == query.prompts:
        return maps
    return replace(maps, labels=query.prompts)


def _unpack(packed: bytes | None, query: Query) -> ScoreMaps | None:
    """Score maps out of cached bytes; anything doubtful is a miss."""
    if packed is None:
        return None
    try:
        cached = decode_score_maps(packed)
    except UnreadableScores as error:
        logger.warning("Unreadable cache entry, treated as a miss: %s", error)
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
