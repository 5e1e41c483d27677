"""Checks of this machine: the settings, and the address to listen on.

Settings in, findings out. Asks nobody but this backend, if it runs.
"""

import errno
import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from backend.doctor.findings import Check, Finding, ok, problem, warning
from backend.http import basic_auth
from backend.label_studio import NoReply, Reply, ask
from backend.settings import Settings

ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})


def check_settings(settings: Settings) -> Check[None]:
    """Say which variables are set: a misspelt one is missing from the list."""
    fields = type(settings).model_fields
    names = sorted(
        str(fields[field].validation_alias.choices[0])  # type: ignore[union-attr]
        for field in settings.model_fields_set
    )
    yield ok(
        "settings",
        f"set in the environment: {', '.join(names)}; all others have defaults"
        if names
        else "no variable is set in the environment; all have defaults",
    )


def check_listening(settings: Settings) -> Check[None]:
    """Whether the address can be listened on, and who may reach it."""
    place = f"HOST={settings.host}, PORT={settings.port}"
    failure = _bind_failure(settings.host, settings.port)
    if failure is None:
        yield warning(
            "listening",
            f"with these settings the backend would listen on {place}; nothing does",
            "Start the backend: diffsegmenter serve. If it runs already, run this "
            "command with the backend's own environment.",
        )
    elif failure == errno.EADDRINUSE:
        yield _who_listens(settings, place)
    elif failure in {errno.EACCES, errno.EPERM}:
        yield problem(
            "listening",
            f"{place} may not be listened on by this user",
            "Set PORT to a number above 1023, for example PORT=9090.",
        )
    else:
        yield problem(
            "listening",
            f"HOST={settings.host!r} is no address of this machine (some environments, "
            f"conda's among them, set HOST to something else)",
            "Set HOST=127.0.0.1, or HOST=0.0.0.0 if Label Studio runs on another "
            "machine or in a container.",
        )
        return
    yield from _who_reaches(settings)


def own_url(settings: Settings) -> str:
    """Where this backend is reached from this machine."""
    host = "127.0.0.1" if settings.host in ANY_ADDRESS else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def is_own_url(url: str, settings: Settings) -> bool:
    """Say whether a backend with these settings may be what an address leads to.

    Another machine may know it by any name, so that mostly the port decides.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return False
    is_reachable = is_loopback(parts.hostname or "") or not is_loopback(settings.host)
    return port == settings.port and is_reachable


def is_this_machine(host: str) -> bool:
    """Say whether a host name leads to an address of this machine."""
    return _bind_failure(host, 0) is None


def is_loopback(host: str) -> bool:
    """Say whether only this machine, or container, can reach the host."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def ask_health(url: str, settings: Settings) -> Reply | NoReply:
    """Ask a backend for its health, with the password if there is one."""
    headers = basic_auth_headers(settings)
    return ask("GET", f"{url.rstrip('/')}/health", headers=headers, timeout_s=5)


def basic_auth_headers(settings: Settings) -> dict[str, str]:
    """What a backend wants to be sent that asks for a password; else nothing."""
    if not settings.basic_auth_user or not settings.basic_auth_pass:
        return {}
    password = settings.basic_auth_pass.get_secret_value()
    return {"Authorization": basic_auth(settings.basic_auth_user, password)}


def model_version_of(reply: Reply | NoReply) -> str | None:
    """What a backend of this kind calls its model; None for anything else."""
    body = reply.body if isinstance(reply, Reply) else None
    version = body.get("model_version") if isinstance(body, dict) else None
    is_ours = isinstance(version, str) and version.startswith("diffsegmenter-")
    return version if is_ours else None


def _bind_failure(host: str, port: int) -> int | None:
    """The error number of listening there for a moment, None if it can be done."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind) as probe:
            # As gunicorn does: connections that are closing do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        return getattr(error, "errno", None) or errno.EADDRNOTAVAIL
    return None


def _who_listens(settings: Settings, place: str) -> Finding:
    reply = ask_health(own_url(settings), settings)
    version = model_version_of(reply)
    if isinstance(reply, Reply) and version is not None:
        model = str(reply.body.get("model"))
        seen = f"a backend answers on {place}: {version}, its model is {model}"
        if model.startswith("failed"):
            return problem("listening", seen, "See the finding on weights below.")
        return ok("listening", seen)
    if isinstance(reply, Reply) and reply.status == 401:
        return problem(
            "listening",
            f"what listens on {place} does not accept BASIC_AUTH_USER and "
            f"BASIC_AUTH_PASS",
            "Restart the backend, so that it has the same settings as this command.",
        )
    return problem(
        "listening",
        f"another program uses {place}",
        f"Stop that program, or set another port: PORT={settings.port + 1}",
    )


def _who_reaches(settings: Settings) -> Iterator[Finding]:
    """Warn of listeners that Label Studio cannot reach, or that everybody can."""
    label_studio = urlsplit(settings.label_studio_url or "").hostname
    is_elsewhere = label_studio is not None and not is_this_machine(label_studio)
    if is_loopback(settings.host) and is_elsewhere:
        yield warning(
            "reachable",
            f"HOST={settings.host} is reached from this machine alone, and Label "
            f"Studio is on {label_studio}",
            "Set HOST=0.0.0.0, and BASIC_AUTH_USER and BASIC_AUTH_PASS with it.",
        )
    elif not is_loopback(settings.host) and settings.basic_auth_user is None:
        yield warning(
            "reachable",
            f"HOST={settings.host} is reached from other machines, and no password is "
            f"asked for",
            "Set BASIC_AUTH_USER and BASIC_AUTH_PASS, and enter both in Label Studio "
            "under Settings > Model.",
        )
