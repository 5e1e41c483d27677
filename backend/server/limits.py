"""What one request may be, looked at before anything is made of it."""

import re
from dataclasses import dataclass
from typing import Any, Final

from werkzeug.exceptions import RequestEntityTooLarge

from backend.errors import BadRequest

# Each becomes an object of Python's, of a hundred bytes and more. 20,000 tasks with
# their annotations have less.
_MOST_OBJECTS: Final = 1_000_000
# Of XML; thousands of labels take some hundred kilobytes.
_LONGEST_CONFIG: Final = 1_000_000
# Longer texts in quotes are no labels that anybody reads, and each is tokenized.
_LONGEST_ATTRIBUTE: Final = 10_000
_TOO_LONG_ATTRIBUTE: Final = re.compile(
    rf"([\w.:-]{{1,40}})\s*=\s*(?:\"[^\"]{{{_LONGEST_ATTRIBUTE + 1}}}"
    rf"|'[^']{{{_LONGEST_ATTRIBUTE + 1}}})"
)


@dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """Bounds of requests; see the settings of these names.

    Attributes:
        max_bytes: of a body.
        max_tasks: in one request for predictions.
        timeout_s: in which head and body must have arrived, and an answer be taken.
    """

    max_bytes: int = 32 * 1024 * 1024
    max_tasks: int = 20_000
    timeout_s: float = 30.0

    @property
    def max_held_bytes(self) -> int:
        """Of all bodies in memory at one time."""
        return 4 * self.max_bytes

    def check_content(self, data: bytes, path: str) -> None:
        """Refuse a body that would become more objects than memory is for.

        Raises:
            BadRequest: naming their number.
        """
        found = data.count(b"{") + data.count(b"[")
        if found > _MOST_OBJECTS:
            raise BadRequest(
                f"The body of {path} has {found:,} objects and lists; the limit is "
                f"{_MOST_OBJECTS:,}. Send fewer tasks at once, or use "
                f"`diffsegmenter preannotate`."
            )

    def check_tasks(self, body: Any) -> None:
        """Refuse more tasks than are looked at in one request.

        Raises:
            BadRequest: naming their number.
        """
        tasks = body.get("tasks") if isinstance(body, dict) else None
        if isinstance(tasks, list) and len(tasks) > self.max_tasks:
            raise BadRequest(
                f"The request has {len(tasks):,} tasks; the limit is "
                f"{self.max_tasks:,}. Select fewer, use `diffsegmenter preannotate`, "
                f"or raise REQUEST_MAX_TASKS."
            )

    def check_config(self, body: Any) -> None:
        """Refuse a label config that takes longer to read than anybody waits.

        Raises:
            BadRequest: naming its size, or that of its longest label.
        """
        if not isinstance(body, dict):
            return
        for name in ("label_config", "schema"):
            config = body.get(name)
            if isinstance(config, str):
                _check_config(config)

    def too_large(self, n_bytes: int | None, path: str) -> RequestEntityTooLarge:
        """The refusal of a body.

        Args:
            n_bytes: what it has, or has at least; None where nobody knows.
            path: it was sent to.
        """
        limit = f"{self.max_bytes:,}"
        found = (
            f"more bytes than the limit, {limit}"
            if n_bytes is None
            else f"{n_bytes:,} bytes; the limit is {limit}"
        )
        return RequestEntityTooLarge(
            f"The body of {path} has {found}. Send fewer tasks at once, use "
            f"`diffsegmenter preannotate`, or raise REQUEST_MAX_BYTES."
        )


def _check_config(config: str) -> None:
    if len(config) > _LONGEST_CONFIG:
        raise BadRequest(
            f"The label config has {len(config):,} characters; the limit is "
            f"{_LONGEST_CONFIG:,}. Use fewer or shorter labels."
        )
    long = _TOO_LONG_ATTRIBUTE.search(config)
    if long is not None:
        raise BadRequest(
            f"The label config has an attribute {long[1]!r} of more than "
            f"{_LONGEST_ATTRIBUTE:,} characters. Shorten it, above all if it is a "
            f"label's."
        )
