"""One prediction of a version per task, whoever stored how many.

Label Studio keeps whatever it is sent, twice if it is sent twice.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from backend.label_studio import PredictionSummary, ProjectTasks

VERSION_PREFIX: Final = "diffsegmenter-"


def deduplicate(
    tasks: ProjectTasks,
    version: str,
    prediction_summaries: Mapping[int, PredictionSummary],
    *,
    replaces: bool = False,
) -> int:
    """Leave one prediction of the version per task.

    Args:
        tasks: of the project.
        version: whose doubles go; the oldest stays.
        prediction_summaries: of the tasks to look at.
        replaces: whether our earlier versions go as well, where this one is there.

    Returns:
        How many predictions were removed.
    """
    n_removed = 0
    for task_id, held in prediction_summaries.items():
        is_replacing = replaces and any(
            other.startswith(VERSION_PREFIX) for other in held.versions - {version}
        )
        if held.has_duplicates or is_replacing:
            found = tasks.versions_of(task_id)
            surplus = list(_surplus(found, version, replaces=replaces))
            for prediction_id in surplus:
                tasks.remove(prediction_id)
            n_removed += len(surplus)
            # A bulk that was stored meanwhile recounts all tasks of the project, and
            # writes down what it had counted before a prediction was removed.
            if found and not surplus and len(found) != held.n_predictions:
                tasks.recount(min(found))
    return n_removed


def deduplicate_project(tasks: ProjectTasks, version: str) -> int:
    """Leave one prediction of the version per task of the project.

    Workers see to that as they store. What is left for the end is what was stored by a
    request whose answer got lost, or by Label Studio itself, after they had looked.

    Returns:
        How many predictions were removed.
    """
    n_removed, after_id = 0, 0
    while True:
        page = tasks.tasks_with_several(version, after_id=after_id)
        if not page.task_ids:
            return n_removed
        n_removed += deduplicate(
            tasks, version, tasks.prediction_summaries(page.task_ids, version)
        )
        after_id = page.task_ids[-1]
        if len(page.task_ids) >= page.n_remaining:
            return n_removed


def _surplus(
    versions: Mapping[int, str], version: str, *, replaces: bool
) -> Iterator[int]:
    """Predictions to remove out of a task's, by id."""
    of_version = sorted(at for at, found in versions.items() if found == version)
    yield from of_version[1:]
    if replaces and of_version:
        for prediction_id, found in versions.items():
            if found != version and found.startswith(VERSION_PREFIX):
                yield prediction_id
