"""Webhooks in, answered at once; their events worked on behind them.

An event is in the store before its webhook is answered, and stays there until it has
been worked on: neither a kill nor a restart loses it. Whoever works takes it for a
while, and another takes it when that was in vain.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from backend.circuit_breaker import CircuitBreaker
from backend.errors import FeedbackUnavailable
from backend.feedback.events import Event, UnusableEvent, parse_event
from backend.feedback.store import EVENT_LEASE_S, FeedbackStore, WaitingEvent

logger = logging.getLogger(__name__)

# While the store is away; what is more is found by `feedback import`.
_MOST_UNSTORED: Final = 200
_COOLDOWN_S: Final = 5.0
_LONGEST_COOLDOWN_S: Final = 60.0
# An image or a model that is away is waited for, half a minute first, hours at last.
_FIRST_PAUSE_S: Final = 30.0
_LONGEST_PAUSE_S: Final = 6 * 3600.0
_MOST_ATTEMPTS: Final = 12
_POLL_S: Final = 2.0
_AWAY_S: Final = 5.0
# How long others that are there have for an event before it is taken from them.
_LEFT_TO_OTHERS_S: Final = 60.0


class Intake:
    """Takes events of webhooks into the store. Any thread may call; no call raises.

    Args:
        store: where they wait.
        queue: of those who can work on them: another model's images teach nothing.
    """

    def __init__(self, store: FeedbackStore, queue: str) -> None:
        self._store = store
        self.queue = queue
        # Events that the store could not take, with their ids.
        self._unstored: deque[tuple[str, bytes]] = deque()
        self._storing = threading.Lock()
        self._breaker = CircuitBreaker(
            f"Keeping events in {store.describe()}",
            cooldown_s=_COOLDOWN_S,
            longest_cooldown_s=_LONGEST_COOLDOWN_S,
            clock=time.monotonic,
        )
        # Set while there may be something to work on.
        self.arrived = threading.Event()

    def accept(self, payload: Any) -> bool:
        """Take in what a webhook sends; False where it is none of ours."""
        try:
            event = parse_event(payload)
        except UnusableEvent as error:
            logger.warning("A webhook's event is left out: %s.", error)
            return False
        if event is None:
            return False
        # Whoever asks twice for training wants it twice.
        name = f"{event.id}:{time.time():.3f}" if event.kind == "train" else event.id
        self._keep(name, event.to_bytes())
        self.arrived.set()
        return True

    def store_left(self) -> None:
        """Store what could not be stored, as far as it can be now."""
        if not self._storing.acquire(blocking=False):
            return  # another thread is at it
        try:
            while self._unstored and self._breaker.allows():
                name, body = self._unstored[0]
                if not self._stored(name, body):
                    return
                self._unstored.popleft()
        finally:
            self._storing.release()

    def _keep(self, name: str, body: bytes) -> None:
        self.store_left()
        if not self._unstored and self._breaker.allows() and self._stored(name, body):
            return
        if len(self._unstored) >= _MOST_UNSTORED:
            logger.warning(
                "%s is lost: too much waits for the store. %s", name, _REMEDY
            )
            return
        self._unstored.append((name, body))

    def _stored(self, name: str, body: bytes) -> bool:
        """Whether nothing is left to be done to keep it."""
        try:
            is_kept = self._store.add_event(self.queue, name, body)
        except FeedbackUnavailable as error:
            self._breaker.record_failure(str(error))
            return False
        self._breaker.record_success()
        if not is_kept:
            logger.warning(
                "%s is left out: it has %d bytes, or too much waits. %s",
                *(name, len(body), _REMEDY),
            )
        return True


_REMEDY: Final = "`diffsegmenter feedback import` finds it again."


class EventWorker:
    """Works on events in a thread of its own until it is stopped.

    Args:
        store: where they wait.
        queue: of the model that is at hand.
        work_on: does one; returns what to try again later for, None when it is done.
        intake: of this process, None where there is none.
        has_others: whether others are there to do it, who go first.
    """

    def __init__(
        self,
        store: FeedbackStore,
        queue: str,
        work_on: Callable[[Event], str | None],
        *,
        intake: Intake | None = None,
        has_others: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._queue = queue
        self._work_on = work_on
        self._intake = intake
        self._has_others = has_others
        self._arrived = threading.Event() if intake is None else intake.arrived
        self._is_stopped = False
        self._thread: threading.Thread | None = None
        self._is_away = False

    def start(self) -> None:
        """Begin with what waits from before, and with what comes."""
        self._thread = threading.Thread(target=self._run, name="feedback", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more. For signal handlers too."""
        self._is_stopped = True
        self._arrived.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of what was under way when it was stopped."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def work_off(self, overdue_s: float = 0.0) -> int:
        """Work on all that is due, for so long at least; how many events that was."""
        n_events = 0
        while not self._is_stopped:
            waiting = self._store.take_event(self._queue, overdue_s)
            if waiting is None:
                break
            n_events += 1
            self._work_on_one(waiting)
        return n_events

    def _run(self) -> None:
        while not self._is_stopped:
            self._arrived.clear()
            pause_s = _POLL_S
            try:
                if self._intake is not None:
                    self._intake.store_left()
                if self._store.n_events(self._queue):
                    self.work_off(_LEFT_TO_OTHERS_S if self._has_others() else 0.0)
                self._is_away = False
            except FeedbackUnavailable as error:
                pause_s = _AWAY_S
                if not self._is_away:
                    logger.warning("Corrections wait: %s", error)
                self._is_away = True
            # The thread must outlive whatever it meets.
            except Exception:
                pause_s = _AWAY_S
                logger.exception("Unexpected error while learning from corrections.")
            if not self._is_stopped:
                self._arrived.wait(pause_s)

    def _work_on_one(self, waiting: WaitingEvent) -> None:
        with self._keeping(waiting):
            missing = self._outcome(waiting)
        if missing is None:
            self._store.end_event(self._queue, waiting)
        elif waiting.attempts >= _MOST_ATTEMPTS:
            logger.warning(
                "%s is given up after %d tries: %s %s",
                *(waiting.id, waiting.attempts, missing, _REMEDY),
            )
            self._store.end_event(self._queue, waiting)
        else:
            pause_s = pause_after_s(waiting.attempts)
            logger.info("%s: again in %.0f s: %s", waiting.id, pause_s, missing)
            self._store.postpone_event(self._queue, waiting, pause_s)

    @contextmanager
    def _keeping(self, waiting: WaitingEvent) -> Iterator[None]:
        """Keep an event from others while the block lasts, however long."""
        is_done = threading.Event()

        def keep() -> None:
            while not is_done.wait(EVENT_LEASE_S / 3):
                with suppress(FeedbackUnavailable):
                    self._store.keep_event(self._queue, waiting)

        keeper = threading.Thread(target=keep, name="keep-event", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            is_done.set()
            # What is kept must not come after what is postponed.
            keeper.join()

    def _outcome(self, waiting: WaitingEvent) -> str | None:
        """What to try again for, None if nothing is left to do."""
        if waiting.attempts > _MOST_ATTEMPTS:
            return "each process that began with it ended."
        try:
            event = Event.from_bytes(waiting.body)
        except ValueError as error:
            logger.warning("An event that waited is left out: %s.", error)
            return None
        try:
            return self._work_on(event)
        except FeedbackUnavailable as error:
            self._is_away = True
            logger.warning("%s", error)
            return str(error)
        # The border to what people and programs have sent: it costs this event alone.
        except Exception as error:
            logger.exception("Unexpected error while learning from %s.", waiting.id)
            return f"{type(error).__name__}, see above."


def pause_after_s(attempts: int) -> float:
    """How long an event rests that was tried `attempts` times, 1 or more."""
    return min(_FIRST_PAUSE_S * 3.0 ** (attempts - 1), _LONGEST_PAUSE_S)
