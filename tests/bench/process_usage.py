"""What processes of this machine have used, out of Linux' /proc."""

import os
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
# Places in what follows the name in /proc/PID/stat, see proc(5).
_PARENT, _SESSION, _USER_TICKS, _SYSTEM_TICKS = 1, 3, 11, 12


def cpu_s_of_session(leader: int) -> float:
    """Seconds of CPU that all living processes of a session have used."""
    ticks = sum(
        int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])
        for fields in _all_fields().values()
        if int(fields[_SESSION]) == leader
    )
    return ticks / _TICKS_PER_S


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used, with all threads that it ever had."""
    text = Path(f"/proc/{pid}/stat").read_text()
    fields = text.rpartition(")")[2].split()
    return (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / _TICKS_PER_S


def children(parent: int) -> list[int]:
    """Process ids of the children that live."""
    fields = _all_fields()
    return [pid for pid, its in fields.items() if int(its[_PARENT]) == parent]


def rss_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    resident = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(resident) * _PAGE_BYTES


def _all_fields() -> dict[int, list[str]]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:  # ended between two looks
            continue
        # The name is in brackets, and may hold anything.
        found[int(path.parent.name)] = text.rpartition(")")[2].split()
    return found
