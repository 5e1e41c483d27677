"""The `diffsegmenter` command: words typed in a terminal in, an exit status out.

One file a command, found by its name (`app.py`). Refuses to know how anything is done:
each command reads the settings, asks another room, and prints.
"""

from backend.cli.app import build_app, main

__all__ = ["build_app", "main"]
