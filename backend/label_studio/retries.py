"""Calls of Label Studio's API that tell what may pass from what will not.

Label Studio goes away for a restart now and then: what only reads is tried again for
as long as `retry_for_s`. What writes is tried once, because a request without an answer
may have been carried out; whoever writes looks first (see `chunk_runner.py`).
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
    wait_random_exponential,
)

from backend.errors import LabelStudioRefusal, LabelStudioUnavailable
from backend.label_studio.client import MAX_BODY_BYTES, LabelStudioClient, Reply

logger = logging.getLogger(__name__)

# A page of a thousand tasks takes a second on two cores, a bulk of predictions into a
# project of 100,000 tasks four.
_READ_TIMEOUT_S: Final = 120.0
_WRITE_TIMEOUT_S: Final = 300.0
_LONGEST_PAUSE_S: Final = 15.0
# What Label Studio, or a proxy before it, answers while it is not itself.
_TRANSIENT_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_REASON: Final = 300


class AnswerTooLarge(LabelStudioRefusal):
    """More than is read of one answer: tasks may hold their pictures themselves."""


class RetryingClient:
    """Calls as one user. Any thread may make them."""

    def __init__(
        self, client: LabelStudioClient, *, retry_for_s: float, stop: threading.Event
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            client: asks.
            retry_for_s: how long a Label Studio that is away is waited for.
            stop: ends the waiting when it is set.
        """
        self._client = client
        self._retry_for_s = retry_for_s
        self._stop = stop

    def retrying(self) -> Retrying:
        """Retry with growing pauses while Label Studio is away, up to `retry_for_s`."""
        return Retrying(
            retry=retry_if_exception_type(LabelStudioUnavailable),
            wait=wait_random_exponential(0.5, _LONGEST_PAUSE_S),
            stop=stop_after_delay(self._retry_for_s) | stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            before_sleep=_tell,
            reraise=True,
        )

    def read(self, path: str) -> Any:
        """The JSON at a path, asked for until it is there.

        Raises:
            LabelStudioUnavailable: if it does not answer for too long.
            LabelStudioRefusal: if it refuses.
        """
        return self.retrying()(self._once, "GET", path)

    def write(self, method: str, path: str, body: Any = None) -> Any:
        """POST, PATCH or DELETE something, once.

        Raises:
            LabelStudioUnavailable: if it is not known whether that was done.
            LabelStudioRefusal: if it refuses.
        """
        return self._once(method, path, body)

    def _once(self, method: str, path: str, body: Any = None) -> Any:
        calls: Mapping[str, Callable[[], Any]] = {
            "GET": lambda: self._client.get(path, timeout_s=_READ_TIMEOUT_S),
            "POST": lambda: self._client.post(path, body, timeout_s=_WRITE_TIMEOUT_S),
            "PATCH": lambda: self._client.patch(path, body, timeout_s=_WRITE_TIMEOUT_S),
            "DELETE": lambda: self._client.delete(path, timeout_s=_READ_TIMEOUT_S),
        }
        reply = calls[method]()
        where = path.partition("?")[0]
        if not isinstance(reply, Reply):
            if reply.is_final:
                raise LabelStudioRefusal(reply.reason, status=401)
            raise LabelStudioUnavailable(
                f"Label Studio does not answer: {reply.reason.rstrip('.')}."
            )
        why = reply.reason[:_LONGEST_REASON].rstrip(".")
        if reply.status in _TRANSIENT_STATUSES:
            raise LabelStudioUnavailable(f"Label Studio answers {where} with {why}.")
        if reply.is_cut:
            raise AnswerTooLarge(
                f"Label Studio's answer to {where} is larger than "
                f"{MAX_BODY_BYTES // 2**20} MiB.",
                status=reply.status,
            )
        if not 200 <= reply.status < 300:
            raise LabelStudioRefusal(
                f"Label Studio answers {where} with {why}.",
                status=reply.status,
            )
        return reply.body


def _tell(state: RetryCallState) -> None:
    """Say what is waited for."""
    error = state.outcome.exception() if state.outcome else None
    pause_s = state.next_action.sleep if state.next_action else 0.0
    logger.warning("%s Retrying in %.1f s.", error, pause_s)
