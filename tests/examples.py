"""How many examples hypothesis tries: few of the same for a change, all in full.

`quick` draws the same examples in every run, so that a test that fails says something
of the change at hand. `full` draws others each time: `make test-full`, before a release
and whenever a property is worked on.
"""

from typing import Final

from hypothesis import settings

_QUICK_01: Final = 0.1
_LEAST: Final = 20


def register() -> None:
    """Tell hypothesis both profiles, and take `quick` unless it is told otherwise."""
    settings.register_profile("full", max_examples=100, derandomize=False)
    settings.register_profile("quick", max_examples=_LEAST, derandomize=True)
    settings.load_profile("quick")


def at_most(full: int) -> int:
    """What to give as `max_examples` where 100 would not be the right number in full.

    Args:
        full: examples of `make test-full`.
    """
    # "full-with-verbose-verbosity" is full as well.
    is_full = settings.get_current_profile_name().startswith("full")
    return full if is_full else max(_LEAST, round(_QUICK_01 * full))
