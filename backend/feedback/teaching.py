"""A project's corrections in, what its labels have learned out, with a version.

Fitting is deterministic in the corrections: whoever fits the same gets the same bytes,
and the same bytes are no new version. Knows no model, only what was read of images when
they were corrected.
"""

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from backend.cache import LEASE_TTL_S, Cache, hold_leases, poll_intervals_s
from backend.feedback.store import FeedbackStore
from backend.feedback.types import TaughtHeads, read_heads
from segmenter import Example, Heads, fit_heads

logger = logging.getLogger(__name__)

# Fitting takes seconds; whoever waits longer leaves it to the one who is at it.
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Teacher:
    """Fits heads to what people corrected.

    Attributes:
        store: of corrections and heads.
        leases: so that two processes do not fit the same at the same time.
        models: names of what makes this installation's maps, see `Scorer.maps_name`;
            what was read of images by others cannot be used.
        learn_after: changes of corrections after which heads are fitted anew; 0 for
            never.
    """

    store: FeedbackStore
    leases: Cache
    models: Collection[str]
    learn_after: int

    def note_change(self, project: str) -> None:
        """Count a correction that came, changed or went; fit where it is time.

        Raises:
            FeedbackUnavailable: if the store cannot be used.
        """
        n_changes = self.store.count_change(project)
        if self.learn_after and n_changes >= self.learn_after:
            self.teach(project)

    def teach(self, project: str) -> TaughtHeads | None:
        """Fit heads to all corrections, which count from then on.

        Returns:
            What counts now; None where nothing was ever fitted.

        Raises:
            FeedbackUnavailable: if the store cannot be used.
        """
        if self.store.is_frozen(project):
            logger.info("Project %s is frozen: nothing is learned.", project)
            return self.store.heads(project)
        with self._turn(project) as is_ours:
            before = self.store.heads(project)
            if not is_ours:
                return before
            started = time.monotonic()
            taught = self._fit(project, before)
            if taught is not None:
                self.store.put_heads(project, taught)
                _log(project, before, taught, time.monotonic() - started)
            return taught

    def _fit(self, project: str, before: TaughtHeads | None) -> TaughtHeads | None:
        model, n_corrections, examples = self._examples(project)
        if not n_corrections and before is None:
            return None
        heads = fit_heads(examples)
        data = heads.to_bytes()
        version = 0 if before is None else before.version
        is_new = before is None or (before.model, before.data) != (model, data)
        # Words alone before and after are no news.
        known = read_heads(before, project)
        if is_new and (has_gained(heads) or (known is not None and has_gained(known))):
            version += 1
        return TaughtHeads(
            version=version,
            data=data,
            model=model,
            n_corrections=n_corrections,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _examples(self, project: str) -> tuple[str, int, list[Example]]:
        """Of the model that read most of the corrected images, of those in use."""
        corrections = self.store.corrections(project)
        usable = [one for one in corrections if one.model in self.models]
        counts = Counter(one.model for one in usable)
        model = max(sorted(counts), key=lambda name: counts[name], default="")
        examples = [
            example
            for one in usable
            if one.model == model
            for packed in one.examples
            if (example := _read(packed, project, one.annotation)) is not None
        ]
        return model, len(corrections), examples

    @contextmanager
    def _turn(self, project: str) -> Iterator[bool]:
        """Wait until nobody else fits this project; False if that takes too long."""
        until = time.monotonic() + _PATIENCE_S
        for pause_s in poll_intervals_s():
            key = f"teach:{project}"
            with hold_leases(self.leases, [key], ttl_s=LEASE_TTL_S) as (state,):
                if not state.is_leased or time.monotonic() > until:
                    yield not state.is_leased
                    return
            time.sleep(pause_s)


def has_gained(heads: Heads) -> bool:
    """Whether examples say more than words of any label."""
    return any(label.weight_01 > 0 for label in heads.labels)


def _read(packed: bytes, project: str, annotation: int) -> Example | None:
    try:
        return Example.from_bytes(packed)
    except ValueError as error:
        logger.warning(
            "Project %s: annotation %d is left out: %s", project, annotation, error
        )
        return None


def _log(
    project: str, before: TaughtHeads | None, taught: TaughtHeads, seconds: float
) -> None:
    is_new = taught.version > (0 if before is None else before.version)
    logger.info(
        "Project %s: learned from %d corrected tasks in %.1f s: %s.",
        project,
        taught.n_corrections,
        seconds,
        f"version {taught.version}" if is_new else "nothing new",
    )
