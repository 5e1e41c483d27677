"""The tasks of one project in Label Studio, for work that no request asked for.

Reads which tasks lack a prediction, stores predictions in bulk, and removes what is
one too many. Knows Label Studio's API as observed against 1.23.2, and nothing of how
predictions are made.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from tenacity import Retrying

from backend.errors import LabelStudioRefusal
from backend.label_studio.client import MAX_BODY_BYTES, LabelStudioClient
from backend.label_studio.retries import AnswerTooLarge, RetryingClient
from backend.types import Task

PAGE_SIZE: Final = 1000
# Ids in one address, which servers cut at 4 or 8 kB.
_IDS_AT_ONCE: Final = 200
_VERSIONS: Final = "predictions_model_versions"
# A project may ask for predictions of all that is listed (and wait for them), but for
# reviewers' lists. Those do not tell versions.
_FOR_IDS: Final = {"review": "true"}
_FOR_VERSIONS: Final = {"review": "false"}

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ProjectInfo:
    """What pre-annotation needs to know of a project.

    Attributes:
        title: its name.
        label_config: labeling XML.
        n_tasks: how many tasks it has.
        shown_version: whose predictions its label stream shows: a model version, or
            the title of a connected backend; "" for none.
    """

    title: str
    label_config: str
    n_tasks: int
    shown_version: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some task ids of a longer list.

    Attributes:
        task_ids: in order.
        n_remaining: how many tasks the list has from here on, these among them.
    """

    task_ids: tuple[int, ...]
    n_remaining: int


@dataclass(frozen=True, kw_only=True)
class PredictionSummary:
    """Which predictions a task has.

    Attributes:
        n_predictions: of all versions.
        versions: each once. Label Studio tells some fourteen at most.
    """

    n_predictions: int
    versions: frozenset[str]

    @property
    def has_duplicates(self) -> bool:
        """Whether some version may be there more than once."""
        return self.n_predictions > len(self.versions)


class ProjectTasks:
    """One project's tasks. Any thread may call."""

    def __init__(
        self,
        client: LabelStudioClient,
        project_id: int,
        *,
        retry_for_s: float,
        stop: threading.Event | None = None,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            client: asks as somebody who may change the project.
            project_id: Label Studio's number.
            retry_for_s: how long a Label Studio that is away is waited for.
            stop: ends the waiting when it is set.
        """
        self.project_id = project_id
        self._calls = RetryingClient(
            client, retry_for_s=retry_for_s, stop=stop or threading.Event()
        )
        # Smaller once a page was too large.
        self._page_size = PAGE_SIZE

    def retrying(self) -> Retrying:
        """Tries while Label Studio is away, see `RetryingClient`."""
        return self._calls.retrying()

    def info(self) -> ProjectInfo:
        """Describe the project.

        Raises:
            LabelStudioUnavailable: if it does not answer for too long; all methods do.
            LabelStudioRefusal: if it refuses; so do all methods.
        """
        body = self._calls.read(f"/api/projects/{self.project_id}")
        if not isinstance(body, dict):
            raise self._unexpected(body)
        return ProjectInfo(
            title=str(body.get("title") or ""),
            label_config=str(body.get("label_config") or ""),
            n_tasks=int(body.get("task_number") or 0),
            shown_version=str(body.get("model_version") or ""),
        )

    def tasks_without(self, version: str, *, after_id: int = 0) -> Page:
        """Tasks without a prediction of this version, by id, beginning after an id.

        Pages by id and not by number: a task that gets its prediction meanwhile
        leaves the list, and would let others slip through between two pages.
        """
        return self._page(_without(version), _after(after_id))

    def tasks_with_several(self, version: str, *, after_id: int = 0) -> Page:
        """Tasks with this version and a second prediction, by id, after an id."""
        several = _filter("total_predictions", "greater", "Number", 1)
        return self._page(_with(version), several, _after(after_id))

    def all(self, *, after_id: int = 0) -> Page:
        """All tasks, by id, beginning after an id."""
        return self._page(_after(after_id))

    def annotated(self, *, after_id: int = 0) -> Page:
        """Tasks with an annotation that was not skipped, by id, after an id."""
        submitted = _filter("total_annotations", "greater", "Number", 0)
        return self._page(submitted, _after(after_id))

    def tasks_in_tab(self, view_id: int) -> Iterator[int]:
        """Tasks that a tab of the Data Manager shows, in its order.

        Its pages go by number: take them all before anything changes.
        """
        n_seen, total, size = 0, 1, PAGE_SIZE
        while n_seen < total:
            try:
                body = self._list(page=n_seen // size + 1, page_size=size, view=view_id)
            except AnswerTooLarge:
                size = self._smaller(size)
                continue
            except LabelStudioRefusal as refusal:
                if refusal.status == 404 and n_seen:  # it has shrunk meanwhile
                    return
                raise
            rows = body["tasks"][n_seen % size :]
            if not rows:
                return
            yield from (int(row["id"]) for row in rows)
            # A server may allow smaller pages than are asked for.
            size = min(size, len(body["tasks"]))
            n_seen, total = n_seen + len(rows), int(body["total"])

    def fetch(self, task_ids: Sequence[int]) -> list[Task]:
        """The tasks that exist, as `/predict` would get them."""
        return [
            Task(id=int(row["id"]), data=row.get("data") or {})
            for row in self._rows_of(task_ids)
        ]

    def prediction_summaries(
        self, task_ids: Sequence[int], version: str
    ) -> dict[int, PredictionSummary]:
        """What those of the tasks hold that hold a prediction of the version."""
        # Versions are told only where something is filtered by them.
        return {
            int(row["id"]): PredictionSummary(
                n_predictions=int(row.get("total_predictions") or 0),
                versions=frozenset(_versions_in(row)),
            )
            for row in self._rows_of(task_ids, _with(version), **_FOR_VERSIONS)
        }

    def versions_of(self, task_id: int) -> dict[int, str]:
        """The model version of each prediction of one task, by the prediction's id.

        Brings the predictions themselves along: for a few tasks only.
        """
        rows = self._calls.read(f"/api/predictions?task={task_id}")
        if not isinstance(rows, list):
            raise self._unexpected(rows)
        return {int(row["id"]): str(row.get("model_version") or "") for row in rows}

    def prediction(self, prediction_id: int) -> Row | None:
        """One prediction with its regions; None if it is not there any more."""
        return self._one(f"/api/predictions/{prediction_id}/")

    def annotation(self, annotation_id: int) -> Row | None:
        """One annotation, skipped or not; None if it is not there any more."""
        return self._one(f"/api/annotations/{annotation_id}/")

    def annotations_of(self, task_id: int) -> list[Row]:
        """What people have submitted for one task, skipped ones left out, by id.

        Without the task's predictions, which a list of whole tasks would bring along.
        """
        rows = self._calls.read(f"/api/tasks/{task_id}/annotations/")
        if not isinstance(rows, list):
            raise self._unexpected(rows)
        return [row for row in rows if not row.get("was_cancelled")]

    def store(self, predictions: Sequence[Row]) -> None:
        """Store predictions, all or none; tried once.

        Args:
            predictions: each with "task", "result", "score" and "model_version".
        """
        self._calls.write(
            "POST",
            f"/api/projects/{self.project_id}/import/predictions",
            list(predictions),
        )

    def remove(self, prediction_id: int) -> None:
        """Remove one prediction; one that is gone already is fine."""
        try:
            self._calls.write("DELETE", f"/api/predictions/{prediction_id}")
        except LabelStudioRefusal as refusal:
            if refusal.status != 404:
                raise

    def recount(self, prediction_id: int) -> None:
        """Have Label Studio count the predictions of a prediction's task anew.

        It does so for every prediction that is saved, even if nothing of it changes.
        """
        try:
            self._calls.write("PATCH", f"/api/predictions/{prediction_id}", {})
        except LabelStudioRefusal as refusal:
            if refusal.status != 404:
                raise

    def backend_versions(self) -> dict[str, str]:
        """The model version of each connected backend, by its title.

        Label Studio asks each of them for it, and waits.
        """
        rows = self._calls.read(f"/api/ml?project={self.project_id}")
        if not isinstance(rows, list):
            raise self._unexpected(rows)
        return {
            str(row.get("title") or ""): str(row.get("model_version") or "")
            for row in rows
        }

    def show_version(self, version: str) -> None:
        """Have the project show and sort by predictions of this version.

        Label Studio refuses a version of which it holds no prediction.
        """
        path = f"/api/projects/{self.project_id}"
        self._calls.write("PATCH", path, {"model_version": version})

    def _one(self, path: str) -> Row | None:
        try:
            row = self._calls.read(path)
        except LabelStudioRefusal as refusal:
            if refusal.status == 404:
                return None
            raise
        if not isinstance(row, dict):
            raise self._unexpected(row)
        return row

    def _page(self, *filters: Row) -> Page:
        body = self._first_page(
            PAGE_SIZE,
            query=_compact(
                {
                    "filters": {"conjunction": "and", "items": filters},
                    "ordering": ["tasks:id"],
                }
            ),
        )
        rows = body["tasks"]
        return Page(
            task_ids=tuple(int(row["id"]) for row in rows),
            n_remaining=int(body["total"]),
        )

    def _rows_of(
        self, task_ids: Sequence[int], *filters: Row, **purpose: str
    ) -> Iterator[Row]:
        """Rows of those tasks; a server may allow smaller pages than are asked for."""
        left = sorted(task_ids)
        while left:
            asked = left[:_IDS_AT_ONCE]
            query = {
                "selectedItems": {"all": False, "included": asked},
                "filters": {"conjunction": "and", "items": filters},
                "ordering": ["tasks:id"],
            }
            body = self._first_page(len(asked), query=_compact(query), **purpose)
            rows = body["tasks"]
            yield from rows
            is_whole = not rows or len(rows) >= int(body["total"])
            seen_to = asked[-1] if is_whole else int(rows[-1]["id"])
            left = [task_id for task_id in left if task_id > seen_to]

    def _first_page(self, most: int, **query: Any) -> dict[str, Any]:
        """The beginning of a list, as long as can be had at a time."""
        while True:
            size = min(most, self._page_size)
            try:
                return self._list(page=1, page_size=size, **query)
            except AnswerTooLarge:
                self._page_size = self._smaller(size)

    def _smaller(self, page_size: int) -> int:
        """What to ask for instead of a page that was too large.

        Raises:
            LabelStudioRefusal: if it was of one task.
        """
        if page_size == 1:
            raise LabelStudioRefusal(
                f"A task of project {self.project_id} is of more than "
                f"{MAX_BODY_BYTES // 2**20} MiB; give tasks addresses of pictures "
                f"instead of the pictures themselves.",
                status=200,
            )
        return max(1, page_size // 4)

    def _list(self, **query: Any) -> dict[str, Any]:
        """A list of tasks, their addresses as they were imported."""
        text = urlencode(
            {"project": self.project_id, "resolve_uri": "false", **_FOR_IDS, **query}
        )
        body = self._calls.read(f"/api/tasks?{text}")
        if not isinstance(body, dict) or not isinstance(body.get("tasks"), list):
            raise self._unexpected(body)
        return body

    def _unexpected(self, body: Any) -> LabelStudioRefusal:
        return LabelStudioRefusal(
            f"Label Studio answered project {self.project_id} with "
            f"{type(body).__name__}, which is not what its API gives; see whether "
            f"LABEL_STUDIO_URL is Label Studio's own address.",
            status=200,
        )


def _filter(column: str, operator: str, kind: str, value: Any) -> Row:
    return {
        "filter": f"filter:tasks:{column}",
        "operator": operator,
        "type": kind,
        "value": value,
    }


def _with(version: str) -> Row:
    return _filter(_VERSIONS, "contains", "List", [version])


def _without(version: str) -> Row:
    return _filter(_VERSIONS, "not_contains", "List", [version])


def _after(task_id: int) -> Row:
    return _filter("id", "greater", "Number", task_id)


def _versions_in(row: Row) -> Iterator[str]:
    """Out of "a,b" (SQLite) or "a, b" (PostgreSQL)."""
    for version in str(row.get(_VERSIONS) or "").split(","):
        yield version.strip()


def _compact(query: Mapping[str, Any]) -> str:
    return json.dumps(query, separators=(",", ":"))
