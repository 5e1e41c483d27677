"""The latest values by names that nobody guesses, bounded in number and bytes.

What a page has shown is asked for again at each move of a slider; what was pushed out
is said to be gone, and the page sends it again.
"""

import secrets
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from werkzeug.exceptions import Gone

T = TypeVar("T")


class Recent(Generic[T]):
    """Any thread may call.

    Args:
        most: values that are kept.
        most_bytes: of all of them, by what `put` is told.
    """

    def __init__(self, *, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, value: T, n_bytes: int) -> str:
        """Keep a value, whatever its size; returns its name."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._kept[name] = value, n_bytes
            while len(self._kept) > 1 and (
                len(self._kept) > self._most
                or sum(size for _, size in self._kept.values()) > self._most_bytes
            ):
                self._kept.popitem(last=False)
        return name

    def get(self, name: object) -> T:
        """The value of a name.

        Raises:
            Gone: if it is not kept any more, or never was.
        """
        with self._lock:
            found = self._kept.get(name) if isinstance(name, str) else None
            if found is not None and isinstance(name, str):
                self._kept.move_to_end(name)
                return found[0]
        raise Gone("This picture is not kept any more. Choose it again.")
