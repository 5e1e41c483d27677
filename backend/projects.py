"""What `/setup` told about each Label Studio, for the `/predict` that follows.

Label Studio sends its address and a token with `/setup` only. Kept in memory: it
repeats `/setup` before every prediction that it asks for.
"""

import threading
from collections import OrderedDict
from typing import Final

from backend.tasks import SetupRequest
from backend.values import LabelStudioAccess

# Anybody who reaches the backend may call `/setup`; memory stays bounded.
_MOST_PROJECTS: Final = 10_000


class ProjectAccess:
    """Label Studio's address and token per project."""

    def __init__(self, environment: LabelStudioAccess) -> None:
        """Start with what the operator's environment says."""
        self._environment = environment
        self._learned: OrderedDict[str, LabelStudioAccess] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, setup: SetupRequest) -> None:
        """Remember a project's address and token."""
        if setup.project is None or setup.hostname is None:
            return
        access = LabelStudioAccess(
            url=setup.hostname.rstrip("/"), token=setup.access_token
        )
        with self._lock:
            self._learned[setup.project] = access
            self._learned.move_to_end(setup.project)
            while len(self._learned) > _MOST_PROJECTS:
                self._learned.popitem(last=False)

    def of(self, project: str | None) -> LabelStudioAccess:
        """How to read a project's images.

        The operator's address wins, with the operator's token or, where there is
        none, the project's. A learned address gets the token that came with it
        and never the operator's.
        """
        with self._lock:
            learned = self._learned.get(project or "")
        if self._environment.url is None:
            return learned or LabelStudioAccess(url=None)
        token = self._environment.token
        if token is None and learned is not None:
            token = learned.token
        return LabelStudioAccess(
            url=self._environment.url,
            token=token,
            from_environment=True,
            known_as=None if learned is None else learned.url,
        )
