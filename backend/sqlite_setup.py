"""A new connection to one of our SQLite files in, the same ready to use out."""

import sqlite3
from typing import Final

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

_PRAGMAS: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
-- A fault under a memory map is a signal, not an exception.
PRAGMA mmap_size = 0;
-- Whoever can write to the file can put code into its schema; none of it is run.
PRAGMA trusted_schema = OFF;
"""


def set_up(db: sqlite3.Connection, script: str, *, patience_s: float) -> None:
    """Make the file safe to share and to read, and run its own script.

    Args:
        db: of a file that others may be opening.
        script: makes the tables that are not there yet.
        patience_s: longest wait for others. SQLite's own timeout is not for two
            processes that turn a new file to WAL at once.

    Raises:
        sqlite3.Error: if others were at it all the time, or the file is damaged.
    """
    attempts = Retrying(
        retry=retry_if_exception(_is_busy),
        stop=stop_after_delay(patience_s),
        wait=wait_random(0, 0.05),
        reraise=True,
    )
    attempts(db.executescript, _PRAGMAS + script)


def _is_busy(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
