"""A clock that a test moves by hand."""


class Clock:
    """Seconds since whenever; `now` may be set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now
