"""Checks of the way back: does Label Studio reach this backend?

Label Studio does not tell which addresses it refuses to call, but it checks them
before anything else in a request. So two requests are sent that name an address and
are invalid in other ways: whatever it says of the address, it stores nothing and
calls nobody. (Seen in `ml/serializers.py` and `webhooks/serializers.py` of 1.23.2.)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from backend.doctor.findings import Check, Finding, ok, problem, skipped, warning
from backend.doctor.machine import (
    ANY_ADDRESS,
    ask_health,
    is_loopback,
    is_own_url,
    is_this_machine,
    model_version_of,
    own_url,
)
from backend.doctor.project import NO_PROJECT, Project
from backend.http import shorten
from backend.label_studio import LabelStudioClient, Reply
from backend.settings import Settings

# Label Studio asks each connected backend twice, and waits for it.
_LIST_TIMEOUT_S: Final = 60.0
_STATES: Final = frozenset({"CO", "TR", "PR"})
_CONNECT: Final = "Settings > Model > Connect Model"

Row = Mapping[str, Any]
Verdict = Literal["allowed", "refused", "unknown host", "no answer"]


def check_connection(
    settings: Settings,
    client: LabelStudioClient | None,
    project: Project | None,
    *,
    no_project: str = NO_PROJECT,
    expected_version: Callable[[], str | None] = lambda: None,
) -> Check[Sequence[Row] | None]:
    """Whether Label Studio may call this backend, and does for the project.

    Args:
        settings: of the operator.
        client: None where Label Studio's API is closed.
        project: whose connection it is.
        no_project: why there is none.
        expected_version: gives the model version that a backend with these settings
            has for the project, None if there is none to compare with.

    Returns:
        The project's backends as Label Studio lists them; None if it does not.
    """
    if client is None:
        yield skipped("call back", "Label Studio's API is not open to this command")
        yield skipped("connection", "Label Studio's API is not open to this command")
        return None
    rows = [] if project is None else _connected_backends(client, project)
    urls = [] if isinstance(rows, str) else [str(row["url"]) for row in rows]
    url = urls[0] if urls else own_url(settings)
    calls = _ask_about_backend(client, url)
    yield _calling(calls, url)
    events = _ask_about_webhook(client, url) if calls != "refused" else "refused"
    if calls != "refused":
        yield _sending_events(events, url)
    if project is None:
        yield skipped("connection", no_project)
    elif isinstance(rows, str):
        yield skipped("connection", f"the project's backends are not shown ({rows})")
    else:
        yield from _judge_rows(settings, project, rows, calls)
        yield from _compare_versions(rows, expected_version)
        if urls and events != "refused":
            yield from _find_webhook(settings, client, project, urls)
        return rows
    return None


def _connected_backends(
    client: LabelStudioClient, project: Project
) -> Sequence[Row] | str:
    """The project's backends, each asked for its state now, or why not."""
    reply = client.get(f"/api/ml?project={project.id}", timeout_s=_LIST_TIMEOUT_S)
    if not isinstance(reply, Reply) or reply.status != 200:
        return reply.reason
    rows = reply.body if isinstance(reply.body, list) else []
    return [row for row in rows if isinstance(row, dict) and row.get("url")]


def _ask_about_backend(client: LabelStudioClient, url: str) -> Verdict:
    # Without the required project, and with a flag that is none.
    return _verdict(client, "/api/ml", {"url": url, "is_interactive": "neither"})


def _ask_about_webhook(client: LabelStudioClient, url: str) -> Verdict:
    body = {
        "url": f"{url.rstrip('/')}/webhook",
        "actions": ["NO_SUCH_ACTION"],
        "is_active": "neither",
    }
    return _verdict(client, "/api/webhooks/", body)


def _verdict(client: LabelStudioClient, path: str, body: Row) -> Verdict:
    reply = client.post(path, body)
    if isinstance(reply, Reply):
        if reply.status == 403 and (
            "reserved network" in reply.detail or "not allowed" in reply.detail
        ):
            return "refused"
        if "resolve hostname" in reply.detail:
            return "unknown host"
        if reply.status == 400:
            return "allowed"
    return "no answer"


def _calling(verdict: Verdict, url: str) -> Finding:
    subject, shown = "call back", shorten(url)
    if verdict == "allowed":
        return ok(subject, f"Label Studio does not refuse to call {shown}")
    if verdict == "refused":
        return problem(
            subject,
            f"Label Studio refuses to call {shown}: it blocks private addresses",
            "Start Label Studio with LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false and "
            "LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false in its environment.",
        )
    if verdict == "unknown host":
        return problem(
            subject,
            f"Label Studio cannot resolve the host of {shown}",
            f"Under {_CONNECT} enter an address that Label Studio's own machine, or "
            f"container, knows.",
        )
    return skipped(subject, "Label Studio does not tell whether it blocks addresses")


def _sending_events(verdict: Verdict, url: str) -> Finding:
    subject, shown = "webhook", shorten(url)
    if verdict == "allowed":
        return ok(subject, f"Label Studio does not refuse to send events to {shown}")
    if verdict == "refused":
        return warning(
            subject,
            f"Label Studio refuses to send events to {shown}; {_CONNECT} then shows an "
            f"error, although the backend is connected",
            "Start Label Studio with LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false in its "
            "environment.",
        )
    return skipped(subject, "Label Studio does not tell whether it blocks addresses")


def _judge_rows(
    settings: Settings, project: Project, rows: Sequence[Row], verdict: Verdict
) -> Iterator[Finding]:
    if not rows:
        yield problem(
            "connection",
            f"no backend is connected to project {project.id}, which therefore asks "
            f"for no predictions",
            f"In the project open {_CONNECT} and enter {_url_to_enter(settings)}",
        )
        return
    for row in rows:
        yield _judge_row(settings, row, verdict)
    if len(rows) > 1:
        yield warning(
            "connection",
            f"{len(rows)} backends are connected; Label Studio asks only the first "
            f"for predictions",
            "Delete the others under Settings > Model.",
        )
    if not project.shows_predictions:
        yield warning(
            "connection",
            "annotators do not get to see predictions in this project",
            "Switch on Settings > Annotation > Use predictions to prelabel tasks.",
        )


def _judge_row(settings: Settings, row: Row, verdict: Verdict) -> Finding:
    url, version = str(row["url"]), str(row.get("model_version") or "")
    name = f"{str(row.get('title') or '')!r} at {shorten(url)}"
    state = str(row.get("readable_state") or row.get("state"))
    if row.get("state") not in _STATES:
        message = str(row.get("error_message") or "").partition("\n")[0]
        return problem(
            "connection",
            f"{name} is {state.lower()}",
            _why_disconnected(settings, row, verdict),
            *([f"Label Studio says: {message}"] if message else []),
        )
    if not version.startswith("diffsegmenter-"):
        return warning(
            "connection",
            f"{name} is another kind of backend (model version {version!r})",
            f"To use this one, open {_CONNECT} and enter {_url_to_enter(settings)}",
        )
    elsewhere = (
        f"these settings are those of a backend at another address, HOST="
        f"{settings.host}, PORT={settings.port}"
    )
    return ok(
        "connection",
        f"{name} is {state.lower()}, model version {version}",
        *([] if is_own_url(url, settings) else [elsewhere]),
    )


def _compare_versions(
    rows: Sequence[Row], expected_version: Callable[[], str | None]
) -> Iterator[Finding]:
    """Warn of a running backend that predicts otherwise than one with these settings.

    Label Studio has just asked each backend for its version, where it may update it.
    """
    versions = [
        str(row.get("model_version"))
        for row in rows
        if row.get("state") in _STATES and row.get("auto_update") is not False
    ]
    # That of another kind of backend has its own finding.
    running = [version for version in versions if version.startswith("diffsegmenter-")]
    expected = expected_version() if running else None
    for version in running:
        if expected not in {None, version}:
            yield warning(
                "connection",
                f"the running backend answers version {version}, these settings give "
                f"{expected}: they differ in MODEL, thresholds or options",
                "Run this command with the backend's own environment; if that was "
                "changed, or the backend was updated, restart the backend.",
            )


def _why_disconnected(settings: Settings, row: Row, verdict: Verdict) -> str:
    """The likeliest remedy, from what this machine can see."""
    url = str(row["url"])
    health = ask_health(url, settings)
    if verdict != "allowed":
        return "See 'call back' above."
    if settings.basic_auth_user and row.get("auth_method") != "BASIC_AUTH":
        return (
            "Under Settings > Model edit the connection: choose Basic Authentication "
            "and enter BASIC_AUTH_USER and BASIC_AUTH_PASS."
        )
    if model_version_of(health) is None and model_version_of(
        ask_health(own_url(settings), settings)
    ):
        return (
            f"Under Settings > Model edit the connection: the backend is at "
            f"{_url_to_enter(settings)}"
        )
    if model_version_of(health) is None:
        return "Start the backend: diffsegmenter serve"
    if is_loopback(urlsplit(url).hostname or ""):
        return (
            "It answers here, so Label Studio runs elsewhere, where localhost is its "
            f"own: edit the connection to {_address_from_elsewhere(settings)}, and set "
            "HOST=0.0.0.0."
        )
    return (
        "It answers here: see whether a firewall is between Label Studio and it, and "
        "reload Settings > Model."
    )


def _find_webhook(
    settings: Settings,
    client: LabelStudioClient,
    project: Project,
    urls: Sequence[str],
) -> Iterator[Finding]:
    reply = client.get(f"/api/webhooks/?project={project.id}")
    rows = reply.body if isinstance(reply, Reply) and reply.status == 200 else None
    if not isinstance(rows, list):
        return
    targets = {f"{url.rstrip('/')}/webhook" for url in urls}
    found = [
        row
        for row in rows
        if isinstance(row, dict)
        and str(row.get("url")).partition("?secret=")[0] in targets
    ]
    secret = settings.webhook_secret
    active = [str(row["url"]) for row in found if row.get("is_active")]
    if active and secret and secret.get_secret_value() not in "".join(active):
        yield warning(
            "webhook",
            "WEBHOOK_SECRET is set, and the project's webhook lacks it: its events are "
            "refused",
            f"Under {_CONNECT} enter the backend's address with the secret as its "
            f"path, http://<backend>/<secret>; labels learn from corrections through "
            f"it, and predictions do not need it.",
        )
    elif active:
        yield ok("webhook", "Label Studio sends the project's events to the backend")
    else:
        yield warning(
            "webhook",
            "the project's events are not sent to the backend"
            + (" (the webhook is off)" if found else " (there is no webhook)"),
            f"Under Settings > Webhooks add {shorten(min(targets))} or switch it on; "
            f"labels learn from corrections through it, and predictions do not need "
            f"it.",
        )


def _url_to_enter(settings: Settings) -> str:
    """What to type under Connect Model, as far as it can be known here."""
    label_studio = urlsplit(settings.label_studio_url or "").hostname or "localhost"
    if is_this_machine(label_studio):
        return own_url(settings)
    return _address_from_elsewhere(settings)


def _address_from_elsewhere(settings: Settings) -> str:
    if settings.host not in ANY_ADDRESS and not is_loopback(settings.host):
        return own_url(settings)
    return (
        f"http://ADDRESS:{settings.port}, where ADDRESS is this machine's name for "
        f"Label Studio (from a container on it, host.docker.internal; in docker "
        f"compose, the backend's service)"
    )
