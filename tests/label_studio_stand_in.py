"""A Label Studio of a few lines: projects, tasks and predictions in memory, over HTTP.

It answers the calls of `backend/project_tasks.py` as Label Studio 1.23.2 does, and goes
wrong where a test wants it: answers that get lost, a server that is away, somebody else
who stores meanwhile. The real one is met in `tests/e2e`.
"""

import base64
import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

from backend.label_studio import LabelStudioClient
from backend.types import LabelStudioAccess
from tests.fakes import RED_AND_BLUE, picture
from tests.web_server import send

TOKEN: Final = "0123456789abcdef0123456789abcdef01234567"
_PAGE_SIZE: Final = 100
# What it tells of a task's versions, whole or not.
_TOLD_CHARACTERS: Final = 500


def _jwt(**claims: Any) -> str:
    parts = [{"alg": "HS256"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()) for p in parts]
    return ".".join(part.decode().rstrip("=") for part in encoded) + ".signature"


# What people get who ask for a token today; it is exchanged for one that ends.
PERSONAL_TOKEN: Final = _jwt(token_type="refresh")
_VERSIONS: Final = "filter:tasks:predictions_model_versions"

Row = dict[str, Any]
Answer = tuple[int, Any]


@dataclass
class Project:
    """A project; `tabs` are task ids by view id, `backends` versions by title."""

    title: str
    label_config: str
    model_version: str = ""
    backends: dict[str, str] = field(default_factory=dict)
    tabs: dict[int, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction:
    """What somebody stored."""

    task_id: int
    model_version: str
    result: Sequence[Any] = ()
    score: float | None = None


@dataclass(frozen=True)
class Seen:
    """A request that arrived; `query` as it was sent, its JSON read."""

    method: str
    path: str
    query: Mapping[str, Any]
    body: Any


@dataclass
class Fault:
    """What goes wrong with the next requests of one kind."""

    kind: Literal["status", "lost-answer", "lost-request", "hook", "slow"]
    method: str
    times: int
    path_part: str = ""
    status: int = 503
    hook: Callable[[], None] = lambda: None
    seconds: float = 0.0

    def is_for(self, seen: Seen) -> bool:
        return (
            self.times > 0
            and self.method in {"", seen.method}
            and self.path_part in seen.path
        )


class LabelStudioStandIn:
    """Keeps what is stored; `running_stand_in` serves it."""

    def __init__(self) -> None:
        self.port = 0
        self.projects: dict[int, Project] = {}
        self.tasks: dict[int, Row] = {}
        self.predictions: dict[int, Prediction] = {}
        self.annotations: dict[int, Row] = {}
        # By task id, what Label Studio believes where that is not so.
        self.miscounted: dict[int, int] = {}
        self.seen: list[Seen] = []
        # None, or why Label Studio refuses this prediction.
        self.complaint_about: Callable[[Row], str | None] = lambda row: None
        self.most_per_page: int | None = None
        self._access_tokens: set[str] = set()
        self._faults: list[Fault] = []
        self._lock = threading.RLock()
        self._ids = itertools.count(1)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, token: str = TOKEN) -> LabelStudioClient:
        """Asks as the owner of a token."""
        return LabelStudioClient(
            LabelStudioAccess(url=self.url, token=token, from_environment=True)
        )

    # What people and other processes do.

    def add_project(
        self, *, label_config: str = RED_AND_BLUE, title: str = "pictures"
    ) -> int:
        project_id = next(self._ids)
        self.projects[project_id] = Project(title, label_config)
        return project_id

    def add_tasks(self, project_id: int, *addresses: Any) -> list[int]:
        """One task per address of a picture."""
        ids = [next(self._ids) for _ in addresses]
        with self._lock:
            for task_id, address in zip(ids, addresses, strict=True):
                self.tasks[task_id] = {
                    "project": project_id,
                    "data": {"image": address},
                }
        return ids

    def add_pictures(self, project_id: int, n_tasks: int) -> list[int]:
        """So many tasks, each with a picture that is half red."""
        return self.add_tasks(project_id, *[picture("red", "white")] * n_tasks)

    def add_tab(self, project_id: int, task_ids: Sequence[int]) -> int:
        """A tab of the Data Manager; returns its id."""
        view_id = next(self._ids)
        self.projects[project_id].tabs[view_id] = list(task_ids)
        return view_id

    def remove_task(self, task_id: int) -> None:
        with self._lock:
            del self.tasks[task_id]
            for prediction_id, found in list(self.predictions.items()):
                if found.task_id == task_id:
                    del self.predictions[prediction_id]

    def store(self, task_id: int, model_version: str) -> int:
        """Store a prediction as somebody else; returns its id."""
        with self._lock:
            prediction_id = next(self._ids)
            self.predictions[prediction_id] = Prediction(task_id, model_version)
            return prediction_id

    def annotate(self, task_id: int, result: Sequence[Any], **fields: Any) -> int:
        """Submit an annotation; returns its id. The later, the newer."""
        with self._lock:
            annotation_id = next(self._ids)
            self.annotations[annotation_id] = {
                "id": annotation_id,
                "task": task_id,
                "result": list(result),
                "was_cancelled": False,
                "ground_truth": False,
                "updated_at": f"2026-11-28T10:{annotation_id:06d}",
                **fields,
            }
            return annotation_id

    def annotations_of(self, task_id: int) -> list[Row]:
        """A task's annotations but for skipped ones, the oldest first."""
        return [
            row
            for _, row in sorted(self.annotations.items())
            if row["task"] == task_id and not row["was_cancelled"]
        ]

    def predictions_of(self, task_id: int) -> dict[int, Prediction]:
        """A task's predictions by id, the oldest first."""
        with self._lock:
            return {
                prediction_id: found
                for prediction_id, found in sorted(self.predictions.items())
                if found.task_id == task_id
            }

    def versions_of(self, task_id: int) -> list[str]:
        """The versions of a task's predictions, the oldest first."""
        return [found.model_version for found in self.predictions_of(task_id).values()]

    def n_requests(self, method: str, path_part: str = "") -> int:
        return sum(
            seen.method == method and path_part in seen.path for seen in self.seen
        )

    def end_access_tokens(self) -> None:
        """Let all end that personal tokens were exchanged for."""
        self._access_tokens.clear()

    # What goes wrong.

    def answer(
        self, status: int, *, method: str = "", times: int = 1, path_part: str = ""
    ) -> None:
        """Answer the next requests with a status, as a proxy before it would."""
        self._faults.append(Fault("status", method, times, path_part, status))

    def lose_answers(
        self, *, method: str = "POST", times: int = 1, path_part: str = ""
    ) -> None:
        """Do what is asked and break the connection."""
        self._faults.append(Fault("lost-answer", method, times, path_part))

    def lose_requests(
        self, *, method: str = "", times: int = 1, path_part: str = ""
    ) -> None:
        """Break the connection and do nothing."""
        self._faults.append(Fault("lost-request", method, times, path_part))

    def before(
        self,
        method: str,
        hook: Callable[[], None],
        *,
        path_part: str = "",
        times: int = 1,
    ) -> None:
        """Have something happen just before the next request of a kind is served."""
        self._faults.append(Fault("hook", method, times, path_part, hook=hook))

    def answer_slowly(
        self, seconds: float, *, method: str = "", times: int = 1
    ) -> None:
        self._faults.append(Fault("slow", method, times, seconds=seconds))

    # What is asked.

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length", 0))
        text = handler.rfile.read(length)
        parts = urlsplit(handler.path)
        query: dict[str, Any] = {k: v[-1] for k, v in parse_qs(parts.query).items()}
        if "query" in query:
            query["query"] = json.loads(query["query"])
        body = json.loads(text) if text else None
        seen = Seen(handler.command, parts.path, query, body)
        fault = self._take(seen)
        if fault is not None:
            if fault.kind == "hook":
                fault.hook()
            time.sleep(fault.seconds)
            if fault.kind == "status":
                send(handler, b"<html>away</html>", status=fault.status)
                return
            if fault.kind == "lost-request":
                _break(handler)
                return
        with self._lock:
            status, answer = self._answer(seen, handler.headers.get("Authorization"))
        if fault is not None and fault.kind == "lost-answer":
            _break(handler)
            return
        send(
            handler,
            b"" if answer is None else json.dumps(answer).encode(),
            status=status,
            headers={"Content-Type": "application/json"},
        )

    def _take(self, seen: Seen) -> Fault | None:
        with self._lock:
            self.seen.append(seen)
            fault = next((f for f in self._faults if f.is_for(seen)), None)
            if fault is not None:
                fault.times -= 1
            return fault

    def _answer(self, seen: Seen, authorization: str | None) -> Answer:
        if seen.path == "/api/token/refresh/":
            return self._exchange(seen.body)
        scheme, _, token = (authorization or "").partition(" ")
        if token not in ({TOKEN} if scheme == "Token" else self._access_tokens):
            return 401, {"detail": "Invalid token."}
        match [seen.method, *seen.path.strip("/").split("/")]:
            case ["GET", "api", "projects", number] if self._has_project(number):
                return 200, self._project(int(number))
            case ["PATCH", "api", "projects", number] if self._has_project(number):
                return self._show_version(int(number), seen.body["model_version"])
            case ["GET", "api", "ml"] if self._has_project(seen.query["project"]):
                backends = self.projects[int(seen.query["project"])].backends
                return 200, [
                    {"title": title, "model_version": version}
                    for title, version in backends.items()
                ]
            case ["GET", "api", "tasks"] if self._has_project(seen.query["project"]):
                return self._list(seen.query)
            case ["GET", "api", "tasks", number, "annotations"]:
                if int(number) not in self.tasks:
                    return 404, {"detail": "Not found."}
                return 200, self.annotations_of(int(number))
            case ["GET", "api", "annotations", number]:
                row = self.annotations.get(int(number))
                return (404, {"detail": "Not found."}) if row is None else (200, row)
            case ["GET", "api", "predictions", number]:
                found = self.predictions.get(int(number))
                if found is None:
                    return 404, {"detail": "No Prediction matches the given query."}
                return 200, {
                    "id": int(number),
                    "task": found.task_id,
                    "model_version": found.model_version,
                    "result": list(found.result),
                    "score": found.score,
                }
            case ["GET", "api", "predictions"]:
                return 200, self._predictions(int(seen.query["task"]))
            case ["DELETE", "api", "predictions", number]:
                found = self.predictions.pop(int(number), None)
                if found is not None:
                    self.miscounted.pop(found.task_id, None)
                return (404, {"detail": "Not found."}) if found is None else (204, None)
            case ["PATCH", "api", "predictions", number] if (
                int(number) in self.predictions
            ):
                self.miscounted.pop(self.predictions[int(number)].task_id, None)
                return 200, {"id": int(number)}
            case ["POST", "api", "projects", number, "import", "predictions"]:
                return self._import(int(number), seen.body)
        return 404, {"detail": "Not found."}

    def _exchange(self, body: Row) -> Answer:
        if body["refresh"] != PERSONAL_TOKEN:
            return 401, {"detail": "Token is blacklisted"}
        token = _jwt(token_type="access", number=next(self._ids))
        self._access_tokens.add(token)
        return 200, {"access": token}

    def _has_project(self, number: str) -> bool:
        return number.isdecimal() and int(number) in self.projects

    def _project(self, project_id: int) -> Row:
        project = self.projects[project_id]
        return {
            "id": project_id,
            "title": project.title,
            "label_config": project.label_config,
            "task_number": sum(
                task["project"] == project_id for task in self.tasks.values()
            ),
            "model_version": project.model_version,
        }

    def _show_version(self, project_id: int, version: str) -> Answer:
        project = self.projects[project_id]
        held = {
            found.model_version
            for found in self.predictions.values()
            if self.tasks[found.task_id]["project"] == project_id
        }
        if version and version not in held | set(project.backends):
            problem = "Model version doesn't exist either as live model or as static"
            return 400, {"validation_errors": {"model_version": [problem]}}
        project.model_version = version
        return 200, self._project(project_id)

    def _list(self, query: Mapping[str, Any]) -> Answer:
        project_id = int(query["project"])
        asked = query.get("query", {})
        ids = sorted(
            task_id
            for task_id, task in self.tasks.items()
            if task["project"] == project_id
        )
        if "view" in query:
            shown = self.projects[project_id].tabs.get(int(query["view"]))
            if shown is None:
                return 404, {"detail": "No View matches the given query."}
            ids = [task_id for task_id in shown if task_id in ids]
        selected = asked.get("selectedItems", {"all": True, "excluded": []})
        if not selected["all"]:
            ids = [task_id for task_id in ids if task_id in selected["included"]]
        filters = asked.get("filters", {}).get("items", [])
        for wanted in filters:
            ids = [task_id for task_id in ids if self._passes(task_id, wanted)]
        page = int(query.get("page", 1))
        size = min(int(query.get("page_size", _PAGE_SIZE)), self.most_per_page or 10**9)
        if page > 1 and (page - 1) * size >= len(ids):
            return 404, {"detail": "Invalid page."}
        # Versions are told where something is filtered by them, but not to reviewers.
        tells_versions = query.get("review") != "true" and any(
            wanted["filter"] == _VERSIONS for wanted in filters
        )
        rows = [
            self._row(task_id, tells_versions)
            for task_id in ids[(page - 1) * size : page * size]
        ]
        return 200, {"tasks": rows, "total": len(ids)}

    def _passes(self, task_id: int, wanted: Mapping[str, Any]) -> bool:
        versions, value = self.versions_of(task_id), wanted["value"]
        match wanted["filter"].rpartition(":")[2], wanted["operator"]:
            case "id", "greater":
                return task_id > int(value)
            case "total_predictions", "greater":
                return self.miscounted.get(task_id, len(versions)) > int(value)
            case "total_annotations", "greater":
                return len(self.annotations_of(task_id)) > int(value)
            case "predictions_model_versions", "contains":
                return bool(set(versions) & set(value))
            case "predictions_model_versions", "not_contains":
                return not set(versions) & set(value)
            case "predictions_model_versions", "empty":
                return (not versions) == (value == "true")
        raise ValueError(f"a filter that Label Studio was not seen to take: {wanted}")

    def _row(self, task_id: int, tells_versions: bool) -> Row:
        versions = self.versions_of(task_id)
        row = {
            "id": task_id,
            "data": self.tasks[task_id]["data"],
            "total_predictions": self.miscounted.get(task_id, len(versions)),
        }
        if tells_versions:
            told = ",".join(dict.fromkeys(versions))
            row["predictions_model_versions"] = told[:_TOLD_CHARACTERS]
        return row

    def _predictions(self, task_id: int) -> list[Row]:
        return [
            {"id": prediction_id, "task": task_id, "model_version": found.model_version}
            for prediction_id, found in self.predictions_of(task_id).items()
        ]

    def _import(self, project_id: int, rows: Sequence[Row]) -> Answer:
        problems = []
        for number, row in enumerate(rows):
            task = self.tasks.get(row["task"])
            complaint = self.complaint_about(row)
            if task is None or task["project"] != project_id:
                complaint = f"Invalid task ID {row['task']} - task not found in project"
            if complaint:
                problems.append(f"Prediction {number}: {complaint}")
        if problems:
            return 400, {
                "detail": "Validation error",
                "validation_errors": {"non_field_errors": problems},
            }
        for row in rows:
            self.predictions[next(self._ids)] = Prediction(
                row["task"], row["model_version"], row["result"], row["score"]
            )
        return 201, {"created": len(rows)}


def _break(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def running_stand_in() -> Iterator[LabelStudioStandIn]:
    """Serve an empty one on 127.0.0.1."""
    stand_in = LabelStudioStandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            stand_in.respond(self)

        do_POST = do_PATCH = do_DELETE = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # connections are broken on purpose

    with Listener(("127.0.0.1", 0), Handler) as listener:
        stand_in.port = listener.server_port
        thread = threading.Thread(
            target=listener.serve_forever, kwargs={"poll_interval": 0.02}
        )
        thread.start()
        try:
            yield stand_in
        finally:
            listener.shutdown()
            thread.join()
