"""What goes on behind the requests, and how it comes to an end."""

from dataclasses import dataclass
from typing import Final

from flask import Flask

from backend.batch import Backlog
from backend.engine import Engine
from backend.feedback import FeedbackLoop
from backend.server.limits import RequestLimits

_NAME: Final = "diffsegmenter"
# For the image at hand; a model that takes longer is left behind.
_STOP_WAITS_S: Final = 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Background:
    """What whoever serves the application must know of it.

    Attributes:
        limits: of the requests that it takes.
        backlog: works behind them.
        feedback: learns behind them; None where nothing is to be learned.
        engine: what all work is done with.
    """

    limits: RequestLimits
    backlog: Backlog
    engine: Engine
    feedback: FeedbackLoop | None = None

    def attach(self, app: Flask) -> None:
        """Let it be found by those who serve the application."""
        app.extensions[_NAME] = self

    @classmethod
    def of(cls, app: object) -> "Background | None":
        """That of an application; None for any other."""
        found = getattr(app, "extensions", {}).get(_NAME)
        return found if isinstance(found, cls) else None

    def stop(self) -> None:
        """Begin nothing more; requests are answered still. For signal handlers too."""
        self.backlog.stop()
        if self.feedback is not None:
            self.feedback.stop()

    def finish(self) -> None:
        """End it all, in order: first who works, then what they work with."""
        self.backlog.stop()
        self.backlog.join(_STOP_WAITS_S)
        if self.feedback is not None:
            self.feedback.finish(_STOP_WAITS_S / 2)
        if self.engine.feedback is not None:
            self.engine.feedback.close()
        self.engine.cache.close()
