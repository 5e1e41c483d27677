"""What was answered lately, by task: an annotation begins with it.

Label Studio tells the id of the prediction that an annotation began with, and asking
for that takes a token and time. A bounded number of answers is kept; where one is gone,
the annotation still teaches, and only what became of each region is less known.
"""

import json
import logging
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import orjson

from backend.cache import Cache, Slots
from backend.feedback.events import pack_results, unpack_results
from backend.inference import Answer
from backend.label_studio import PredictRequest

logger = logging.getLogger(__name__)

# With masks of usual size a task takes 5 to 50 kB.
_PLACES: Final = 2048
_MOST_BYTES: Final = 1 << 18
# After which the same is kept once more: its place may have gone to another.
_NOTED_AGAIN_S: Final = 600.0
# Of what is kept, unpacked: zlib makes a thousand bytes of one.
_MOST_UNPACKED_BYTES: Final = 32 << 20
# Requests whose answers may wait to be kept.
_MOST_WAITING: Final = 16

Results = Sequence[Mapping[str, Any]]


class AnswerLog:
    """Answers by task. Any thread may call; no call raises, or waits."""

    def __init__(
        self, cache: Cache, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep them in `cache`; `clock` gives monotonic seconds."""
        self._slots = Slots(cache, "answered", _PLACES)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="answer-log")
        self._room = threading.Semaphore(_MOST_WAITING)
        # Who asks again is answered the same, which need not be packed again.
        self._noted: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()
        self._clock = clock

    def note(self, asked: PredictRequest, answers: Sequence[Answer]) -> None:
        """Keep what a request for predictions was answered with, a little later."""
        project = (asked.project or "").partition(".")[0]
        if asked.is_interactive or not project:
            return
        # Of more tasks there is no room for the first.
        latest = [
            (task.id, answer["result"])
            for task, answer in list(zip(asked.tasks, answers, strict=True))[-_PLACES:]
            if task.id is not None and isinstance(answer, dict)
        ]
        new = [
            (_key(project, task_id), content, found)
            for task_id, found in latest
            if self._is_new(_key(project, task_id), content := _content(found))
        ]
        if not new or not self._room.acquire(blocking=False):
            return

        def keep() -> None:
            try:
                for key, content, results in new:
                    self._put(key, results)
                    self._note(key, content)
            # The border of the thread.
            except Exception:
                logger.exception("Answers cannot be kept.")
            finally:
                self._room.release()

        try:
            self._thread.submit(keep)
        except RuntimeError:  # while the interpreter ends
            self._room.release()

    def put(self, project: str, task_id: int, results: Results) -> None:
        """Keep the regions of one task in place of those that were kept before."""
        self._put(_key(project, task_id), results)

    def _put(self, key: str, results: Results) -> None:
        text = json.dumps(pack_results(results), separators=(",", ":"))
        packed = zlib.compress(text.encode("ascii"), level=1)
        if len(packed) <= _MOST_BYTES:
            self._slots.put(key, packed)

    def _is_new(self, key: str, content: int) -> bool:
        """Whether a task is answered otherwise than what was kept a moment ago."""
        with self._lock:
            before, at = self._noted.get(key, (None, 0.0))
        return before != content or self._clock() >= at + _NOTED_AGAIN_S

    def _note(self, key: str, content: int) -> None:
        with self._lock:
            self._noted[key] = content, self._clock()
            self._noted.move_to_end(key)
            if len(self._noted) > _PLACES:
                self._noted.popitem(last=False)

    def get(self, project: str, task_id: int) -> Results | None:
        """The regions that were answered last; None where that is not known."""
        packed = self._slots.get(_key(project, task_id))
        if packed is None or len(packed) > _MOST_BYTES:
            return None
        try:
            reader = zlib.decompressobj()
            text = reader.decompress(packed, _MOST_UNPACKED_BYTES)
            return unpack_results(json.loads(text))
        # Anybody who can reach an unprotected Redis can write there.
        except (ValueError, RecursionError, zlib.error) as error:
            logger.warning("Unreadable answers in the cache, left out: %s", error)
            return None


def _content(results: Results) -> int:
    """A number that tells results from others."""
    try:
        return hash(orjson.dumps(results))
    except orjson.JSONEncodeError:
        return hash(json.dumps(results))


def _key(project: str, task_id: int) -> str:
    return f"{project}:{task_id}"
