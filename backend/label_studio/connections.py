"""What `/setup` told about each Label Studio, for the `/predict` that follows.

Label Studio sends its address and a token with `/setup` only. Kept in memory: it
repeats `/setup` before every prediction that it asks for.
"""

import logging
import re
import threading
from collections import OrderedDict
from typing import Final

from backend.errors import InvalidUrl
from backend.http import parse_url
from backend.label_studio.requests import SetupRequest
from backend.types import LabelStudioAccess

logger = logging.getLogger(__name__)

# Anybody who reaches the backend may call `/setup`; memory stays bounded.
_MOST_PROJECTS: Final = 10_000
_LONGEST_PROJECT: Final = 200
_LONGEST_HOSTNAME: Final = 2_000
_LONGEST_TOKEN: Final = 2_000
# A user, a query and a fragment are no part of where a server is.
_NO_HOSTNAME: Final = re.compile(r"[@?#\s]")


class LabelStudioConnections:
    """Label Studio's address and token per project."""

    def __init__(self, environment: LabelStudioAccess, *, trusts_setup: bool) -> None:
        """Start with what the operator's environment says.

        Args:
            environment: the operator's address and token, either of which may be
                missing.
            trusts_setup: whether a learned address may lie in a private network.
                True only where strangers cannot send `/setup`, that is where the
                server listens on loopback or asks for a password: else anybody
                could have the backend call on the hosts around it, by the name of
                Label Studio.
        """
        self._environment = environment
        self._trusts_setup = trusts_setup
        self._learned: OrderedDict[str, LabelStudioAccess] = OrderedDict()
        self._lock = threading.Lock()

    def register(self, setup: SetupRequest) -> None:
        """Remember a project's address and token, unless they cannot be such."""
        if setup.project is None or setup.hostname is None:
            return
        flaw = _flaw(setup.project, setup.hostname, setup.access_token or "")
        if flaw is not None:
            logger.debug("Ignored the address in /setup: %s.", flaw)
            return
        access = LabelStudioAccess(
            url=setup.hostname.rstrip("/"),
            token=setup.access_token,
            may_be_private=self._trusts_setup,
        )
        with self._lock:
            self._learned[setup.project] = access
            self._learned.move_to_end(setup.project)
            while len(self._learned) > _MOST_PROJECTS:
                self._learned.popitem(last=False)

    def get(self, project: str | None) -> LabelStudioAccess:
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
            external_url=None if learned is None else learned.url,
        )

    def project_numbers(self) -> list[int]:
        """Label Studio's numbers of the projects that were told of, ascending."""
        with self._lock:
            numbers = {name.partition(".")[0] for name in self._learned}
        return sorted(int(one) for one in numbers if one.isdecimal())

    def learned_url(self, number: int) -> str | None:
        """Where a project's Label Studio says that it is; None where it did not."""
        with self._lock:
            return next(
                (
                    access.url
                    for name, access in reversed(self._learned.items())
                    if name.partition(".")[0] == str(number)
                ),
                None,
            )


def _flaw(project: str, hostname: str, token: str) -> str | None:
    """What keeps a `/setup` from being remembered, without its secrets."""
    for name, text, longest in (
        ("project", project, _LONGEST_PROJECT),
        ("hostname", hostname, _LONGEST_HOSTNAME),
        ("access_token", token, _LONGEST_TOKEN),
    ):
        if len(text) > longest:
            return f"its {name} has {len(text):,} characters, the limit is {longest:,}"
    if _NO_HOSTNAME.search(hostname):
        return "its hostname has a user, a query, a fragment or white space"
    try:
        parse_url(hostname)
    except InvalidUrl:
        return "its hostname is no http or https address"
    return None
