"""The few calls of Label Studio's HTTP API that the tests and the demo make.

Answers are returned as Label Studio gives them; a refusal raises with its text.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import httpx

# "Retrieve predictions" runs every prediction inside one request.
_TIMEOUT_S: Final = 180


class Refused(Exception):
    """Label Studio answered something else than 2xx."""


class LabelStudioApi:
    """One user's view of one Label Studio."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def create_project(self, title: str, label_config: str) -> int:
        """Make a project; returns its id."""
        body = {"title": title, "label_config": label_config}
        project_id: int = self._call("POST", "/api/projects", json=body)["id"]
        return project_id

    def set_label_config(self, project_id: int, label_config: str) -> None:
        """Change a project's label config, as its settings page does."""
        body = {"label_config": label_config}
        self._call("PATCH", f"/api/projects/{project_id}", json=body)

    def import_tasks(
        self, project_id: int, tasks: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Make one task per element, which is its data; returns them in that order."""
        before = {task["id"] for task in self.tasks(project_id)}
        path = f"/api/projects/{project_id}/import"
        self._call("POST", path, json=[{"data": data} for data in tasks])
        return [task for task in self.tasks(project_id) if task["id"] not in before]

    def import_many(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Make one task per element, which is its data."""
        path = f"/api/projects/{project_id}/import"
        self._call("POST", path, json=[{"data": data} for data in tasks])

    def upload_file(self, project_id: int, name: str, content: bytes) -> str:
        """Upload one file without a task; returns its address for a task's data."""
        path = f"/api/projects/{project_id}/import?commit_to_project=false"
        files = {"file": (name, content)}
        (upload_id,) = self._call("POST", path, files=files)["file_upload_ids"]
        upload = self._call("GET", f"/api/import/file-upload/{upload_id}")
        return f"/data/{upload['file']}"

    def connect_storage(self, kind: str, project_id: int, **settings: Any) -> int:
        """Connect a storage to import from; returns its id, unique in its kind.

        Args:
            kind: Label Studio's name for it, such as "localfiles" or "s3".
            project_id: whose storage it becomes.
            settings: what that kind needs, by the API's names.
        """
        body = {"project": project_id, "use_blob_urls": True, "title": kind, **settings}
        storage_id: int = self._call("POST", f"/api/storages/{kind}", json=body)["id"]
        return storage_id

    def import_from_storage(
        self, kind: str, project_id: int, **settings: Any
    ) -> list[dict[str, Any]]:
        """Connect a storage and make a task per file; returns the project's tasks."""
        storage_id = self.connect_storage(kind, project_id, **settings)
        self._call("POST", f"/api/storages/{kind}/{storage_id}/sync")
        return self.tasks(project_id)

    def import_file(self, project_id: int, name: str, content: bytes) -> None:
        """Upload one file as one task; Label Studio prefixes its name."""
        path = f"/api/projects/{project_id}/import"
        self._call("POST", path, files={"file": (name, content)})

    def connect_backend(self, project_id: int, url: str) -> dict[str, Any]:
        """Connect a backend to a project; returns Label Studio's row for it."""
        body = {"url": url, "project": project_id, "title": "DiffSegmenter"}
        row: dict[str, Any] = self._call("POST", "/api/ml", json=body)
        return row

    def update_backend(self, row: Mapping[str, Any], **changes: Any) -> None:
        """Change a connected backend, as the settings page does."""
        body = {"url": row["url"], "project": row["project"], **changes}
        self._call("PATCH", f"/api/ml/{row['id']}", json=body)

    def drafts(self, task_id: int) -> list[dict[str, Any]]:
        """What people have not submitted yet of a task, oldest first."""
        rows: list[dict[str, Any]] = self._call("GET", f"/api/tasks/{task_id}/drafts")
        return sorted(rows, key=lambda row: int(row["id"]))

    def backends(self, project_id: int) -> list[dict[str, Any]]:
        """The backends of a project, each asked for its health and version."""
        rows: list[dict[str, Any]] = self._call("GET", f"/api/ml?project={project_id}")
        return rows

    def tasks(self, project_id: int) -> list[dict[str, Any]]:
        """All tasks of a project, by id."""
        path = f"/api/tasks?project={project_id}&page_size=1000&fields=all"
        rows: list[dict[str, Any]] = self._call("GET", path)["tasks"]
        return sorted(rows, key=lambda task: int(task["id"]))

    def retrieve_predictions(self, project_id: int) -> None:
        """Do what the Data Manager's action does, for all tasks of the project.

        Its answer says "Retrieved" even when nothing was stored, so it is not
        returned: look at `predictions`.
        """
        path = f"/api/dm/actions?id=retrieve_tasks_predictions&project={project_id}"
        body = {"selectedItems": {"all": True, "excluded": []}}
        self._call("POST", path, json=body)

    def predictions(self, task_id: int) -> list[dict[str, Any]]:
        """What Label Studio has stored for a task."""
        path = f"/api/predictions?task={task_id}"
        rows: list[dict[str, Any]] = self._call("GET", path)
        return rows

    def predictions_of_project(self, project_id: int) -> list[dict[str, Any]]:
        """What Label Studio has stored for all tasks of a project."""
        path = f"/api/predictions?project={project_id}"
        rows: list[dict[str, Any]] = self._call("GET", path)
        return rows

    def store_prediction(
        self, task_id: int, model_version: str, result: Sequence[Mapping[str, Any]] = ()
    ) -> int:
        """Store a prediction as anybody may; returns its id."""
        body = {"task": task_id, "model_version": model_version, "result": list(result)}
        row: dict[str, Any] = self._call("POST", "/api/predictions", json=body)
        return int(row["id"])

    def delete_task(self, task_id: int) -> None:
        """Delete a task, with all that belongs to it."""
        self._call("DELETE", f"/api/tasks/{task_id}")

    def model_version(self, project_id: int) -> str:
        """Whose predictions a project shows: a version, a backend's title, or none."""
        row: dict[str, Any] = self._call("GET", f"/api/projects/{project_id}")
        return str(row["model_version"] or "")

    def show_version(self, project_id: int, version: str) -> None:
        """Choose whose predictions a project shows, as its settings page does."""
        body = {"model_version": version}
        self._call("PATCH", f"/api/projects/{project_id}", json=body)

    def next_task(self, project_id: int) -> dict[str, Any]:
        """What the label stream gives to annotate, with its predictions."""
        path = f"/api/projects/{project_id}/next"
        row: dict[str, Any] = self._call("GET", path)
        return row

    def annotate(self, task_id: int) -> None:
        """Submit an annotation without regions."""
        body: dict[str, Any] = {"result": []}
        self._call("POST", f"/api/tasks/{task_id}/annotations/", json=body)

    def tasks_in_tab(self, project_id: int, view_id: int) -> list[int]:
        """Ids that a tab of the Data Manager shows, in its order."""
        path = f"/api/tasks?project={project_id}&view={view_id}&page=1&page_size=30"
        return [int(row["id"]) for row in self._call("GET", path)["tasks"]]

    def create_tab(
        self,
        project_id: int,
        filters: Mapping[str, Any],
        *,
        ordering: Sequence[str] = (),
    ) -> int:
        """Make a tab of the Data Manager; returns its id.

        Args:
            project_id: whose.
            filters: conjunction and items.
            ordering: a column, such as "tasks:id", with "-" before it for descending.
        """
        data = {"title": "tab", "filters": filters, "ordering": list(ordering)}
        body = {"project": project_id, "data": data}
        row: dict[str, Any] = self._call("POST", "/api/dm/views", json=body)
        return int(row["id"])

    def accept_predictions(self, project_id: int, model_version: str) -> None:
        """Make annotations of all predictions of a version, by the Data Manager."""
        action = f"id=predictions_to_annotations&project={project_id}"
        body = {
            "selectedItems": {"all": True, "excluded": []},
            "model_version": model_version,
        }
        self._call("POST", f"/api/dm/actions?{action}", json=body)

    def submit_annotation(
        self, task_id: int, result: Sequence[Mapping[str, Any]], **fields: Any
    ) -> int:
        """Submit an annotation as a person; returns its id."""
        body = {"result": list(result), **fields}
        path = f"/api/tasks/{task_id}/annotations/"
        row: dict[str, Any] = self._call("POST", path, json=body)
        return int(row["id"])

    def delete_annotation(self, annotation_id: int) -> None:
        """Delete what a person has submitted."""
        self._call("DELETE", f"/api/annotations/{annotation_id}/")

    def start_training(self, project_id: int) -> None:
        """Do what *Start Training* does, for every backend of a project."""
        for row in self.backends(project_id):
            self._call("POST", f"/api/ml/{row['id']}/train", json={})

    def annotations(self, task_id: int) -> list[dict[str, Any]]:
        """What people have submitted for a task."""
        task: dict[str, Any] = self._call("GET", f"/api/tasks/{task_id}")
        rows: list[dict[str, Any]] = task["annotations"]
        return rows

    def create_personal_access_token(self) -> str:
        """Make a personal access token; there can be one at a time."""
        token: str = self._call("POST", "/api/token/")["token"]
        return token

    def revoke_personal_access_token(self, token: str) -> None:
        """Make a personal access token useless."""
        self._call("POST", "/api/token/blacklist/", json={"refresh": token})

    def allow_legacy_tokens(self, allowed: bool) -> None:
        """Switch legacy tokens on or off for the whole organization."""
        settings = self._call("GET", "/api/jwt/settings")
        body = {**settings, "legacy_api_tokens_enabled": allowed}
        self._call("POST", "/api/jwt/settings", json=body)

    def _call(self, method: str, path: str, **body: Any) -> Any:
        response = self._http.request(method, path, **body)
        if not response.is_success:
            raise Refused(
                f"{method} {path}: {response.status_code} {response.text[:1000]}"
            )
        return response.json() if response.content else None


@contextmanager
def api_with_legacy_token(url: str, token: str) -> Iterator[LabelStudioApi]:
    """The API as the owner of a legacy token."""
    headers = {"Authorization": f"Token {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S) as http:
        yield LabelStudioApi(http)


@contextmanager
def api_with_personal_access_token(url: str, token: str) -> Iterator[LabelStudioApi]:
    """The API as the owner of a personal access token.

    The access token that it is exchanged for lives 300 s and is not renewed.
    """
    with httpx.Client(base_url=url, timeout=_TIMEOUT_S) as http:
        answer = http.post("/api/token/refresh/", json={"refresh": token})
        answer.raise_for_status()
        http.headers["Authorization"] = f"Bearer {answer.json()['access']}"
        yield LabelStudioApi(http)
