"""A backend that runs with these settings already: asked instead of a second model.

It is one only if it says so itself: its model is ready, and it gives the version for
the project's label config that these settings give.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from backend.doctor.machine import ask_health, basic_auth_headers, own_url
from backend.doctor.project import Project
from backend.label_studio import Reply, ask
from backend.settings import Settings
from backend.types import Task

# It answers other requests beside, and fetches the image.
_EXTRA_S: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class RunningBackend:
    """A backend that can predict for these settings.

    Attributes:
        url: where it listens.
        headers: that it wants.
        timeout_s: for one prediction.
        clock: monotonic seconds.
    """

    url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 100.0
    clock: Callable[[], float] = time.monotonic

    def predict(self, task: Task, project: Project) -> Any:
        """The answer for one task, or the reason (a text) why it gave none."""
        body = {
            "tasks": [{"id": task.id, "data": dict(task.data)}],
            "label_config": project.label_config,
            "project": str(project.id),
        }
        reply = ask(
            "POST",
            f"{self.url}/predict",
            headers=self.headers,
            body=body,
            timeout_s=self.timeout_s,
        )
        if not isinstance(reply, Reply) or reply.status != 200:
            return reply.reason
        results = reply.body.get("results") if isinstance(reply.body, dict) else None
        if not isinstance(results, list) or len(results) != 1:
            return "its answer is not that of a backend"
        return results[0]


def find_running(
    settings: Settings, project: Project | None, expected_version: str | None
) -> RunningBackend | None:
    """The backend at HOST and PORT, if it would predict as these settings do.

    Args:
        settings: of the operator.
        project: to predict for, None for none.
        expected_version: that these settings give for its label config, or for none;
            None where they give none.
    """
    if expected_version is None:
        return None
    url, headers = own_url(settings), basic_auth_headers(settings)
    health = _body(ask_health(url, settings))
    if health.get("model") != "ready":
        return None
    version = health.get("model_version")
    if project is not None:
        # Without an address of Label Studio: it remembers nothing of it.
        setup = {"project": str(project.id), "schema": project.label_config}
        reply = ask("POST", f"{url}/setup", headers=headers, body=setup, timeout_s=5)
        version = _body(reply).get("model_version")
    if version != expected_version:
        return None
    timeout_s = settings.predict_budget_s + _EXTRA_S
    return RunningBackend(url=url, headers=headers, timeout_s=timeout_s)


def _body(reply: Any) -> dict[str, Any]:
    is_good = isinstance(reply, Reply) and reply.status == 200
    return reply.body if is_good and isinstance(reply.body, dict) else {}
