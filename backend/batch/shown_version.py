"""Whose predictions a project shows and sorts by: those of its model version.

Label Studio keeps one text for it: a version of predictions, the title of a connected
backend, or nothing. The label stream shows those predictions alone, and the Data
Manager's column "Prediction score" holds their scores alone; with a title it holds
nothing (seen in `data_manager/managers.py` of 1.23.2), unless Label Studio is started
with the flag that docs/batch.md names.
"""

from backend.batch.duplicates import VERSION_PREFIX
from backend.label_studio import ProjectTasks

_CHOOSE = "under Settings > Annotation"


def show_version(tasks: ProjectTasks, version: str, *, is_partial: bool) -> str:
    """Set a project's model version, unless somebody has chosen another on purpose.

    Args:
        tasks: of the project.
        version: of predictions that some of its tasks hold.
        is_partial: whether the others may hold predictions of the version that the
            project shows now, or be given them by the backend that it names; those
            would be shown no more.

    Returns:
        What to tell about it; "" where nothing was to do.

    Raises:
        LabelStudioError: if Label Studio does not answer, or refuses.
    """
    shown = tasks.info().shown_version
    if shown == version:
        return ""
    is_live = bool(shown) and not shown.startswith(VERSION_PREFIX)
    if is_live and not _is_ours(tasks, shown):
        return (
            f"The label stream shows predictions of {shown!r}, and so does the Data "
            f"Manager's prediction score; choose {version!r} {_CHOOSE} if that was not "
            f"meant."
        )
    if shown and is_partial:
        return (
            f"The label stream shows predictions of {shown!r}, since only some tasks "
            f"were asked for; --set-version, or {_CHOOSE}, shows {version!r}."
        )
    tasks.show_version(version)
    text = (
        f"The label stream now shows these predictions, and the Data Manager sorts and "
        f"filters by their score: the project's model version is {version}"
    )
    if is_live:
        text += (
            f", no longer the backend {shown!r}. Tasks imported later get their "
            f"predictions from the next `preannotate`, or with PREANNOTATE_NEW_TASKS=on"
        )
    return f"{text}."


def _is_ours(tasks: ProjectTasks, title: str) -> bool:
    """Whether a connected backend of that title is one of this kind."""
    return tasks.backend_versions().get(title, "").startswith(VERSION_PREFIX)
