"""What tests of the doctor's checks share: run one, and read what it found."""

import json
from typing import Any, TypeVar

from backend.doctor.findings import Check, Finding
from backend.label_studio import LabelStudioClient
from backend.settings import Settings
from backend.types import LabelStudioAccess
from tests.web_server import WebServer

T = TypeVar("T")
TOKEN = "0123456789abcdef0123456789abcdef01234567"


def outcome(check: Check[T]) -> tuple[list[Finding], T]:
    """All findings of a check, and what it returns."""
    findings = []
    while True:
        try:
            findings.append(next(check))
        except StopIteration as stop:
            return findings, stop.value


def only(check: Check[Any]) -> Finding:
    """The one finding of a check that makes one."""
    (finding,), _ = outcome(check)
    return finding


def settings(**variables: str) -> Settings:
    """Settings of an environment that holds these variables alone."""
    return Settings.from_env(variables)


def client_of(web: WebServer) -> LabelStudioClient:
    """Asks a stand-in as the owner of a legacy token."""
    return LabelStudioClient(
        LabelStudioAccess(url=web.url, token=TOKEN, from_environment=True)
    )


def serve_json(web: WebServer, path: str, body: Any, *, status: int = 200) -> None:
    """Answer a path with JSON."""
    headers = {"Content-Type": "application/json"}
    web.serve(path, json.dumps(body).encode(), status=status, headers=headers)


def serve_label_studio(web: WebServer) -> None:
    """What Label Studio 1.23.2 answers to somebody without a token."""
    refusal = {"detail": "Authentication credentials were not provided."}
    serve_json(web, "/api/current-user/whoami", refusal, status=401)
    serve_json(web, "/api/version", {"release": "1.23.2"})
    web.serve("/health", b'{"status": "UP"}', headers={"Content-Type": "text/html"})


def row(url: str, **fields: Any) -> dict[str, Any]:
    """A connected backend, as Label Studio lists it."""
    return {
        "url": url,
        "title": "DiffSegmenter",
        "state": "CO",
        "readable_state": "Connected",
        "model_version": "diffsegmenter-pocket-paper-1",
        "auth_method": "NONE",
        **fields,
    }
