"""`make demo`: Label Studio and the backend on this machine, already seeded.

Prints where to look and how to log in, and runs until Ctrl-C. Everything is
kept in a temporary folder and gone afterwards.
"""

import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from tests.e2e.backend_process import running_backend
from tests.e2e.clicking import connect_interactive
from tests.e2e.examples import PROJECTS
from tests.e2e.label_studio import LabelStudio, running_label_studio
from tests.e2e.label_studio_api import LabelStudioApi, api_with_legacy_token
from tests.e2e.processes import ARTIFACTS_DIR, NotReady
from tests.e2e.seeding import seed_project

_LOGS_DIR = ARTIFACTS_DIR.with_name("demo")


def main() -> None:
    """Run until the user has seen enough."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop_as_ctrl_c_does)
    try:
        with tempfile.TemporaryDirectory(prefix="diffsegmenter-demo-") as folder:
            _run(Path(folder))
    except KeyboardInterrupt:
        _say("\nStopped.")
    except NotReady as problem:
        sys.exit(str(problem))


def _run(folder: Path) -> None:
    _say("Starting Label Studio (the first time it prepares its database: a minute)")
    with running_label_studio(
        folder=folder / "label-studio", log_path=_LOGS_DIR / "label-studio.log"
    ) as label_studio:
        _say("Starting the backend")
        with (
            running_backend(
                label_studio_url=label_studio.url,
                token=label_studio.legacy_token,
                cache_dir=folder / "cache",
                log_path=_LOGS_DIR / "backend.log",
            ) as backend,
            api_with_legacy_token(label_studio.url, label_studio.legacy_token) as api,
        ):
            addresses = _seed(api, label_studio, backend.url)
            _welcome(label_studio, backend.url, addresses)
            signal.pause()


def _seed(api: LabelStudioApi, label_studio: LabelStudio, backend_url: str) -> str:
    """Fill Label Studio; returns a line per project."""
    lines: list[str] = []
    for project in PROJECTS:
        _say(f"Painting {' and '.join(project.labels)}")
        tasks = seed_project(
            api,
            project,
            backend_url=backend_url,
            label_config=project.clickable_config,
        )
        project_id = tasks[0].project_id
        connect_interactive(api, project_id)
        api.retrieve_predictions(project_id)
        if not all(api.predictions(task.id) for task in tasks):
            raise NotReady(
                f"The backend painted nothing for {project.title!r}; "
                f"{_LOGS_DIR / 'backend.log'} says why."
            )
        # Not a task's address: see `Browser.open_task`.
        address = f"{label_studio.url}/projects/{project_id}/data"
        lines.append(f"    {project.title:8} {len(tasks)} pictures  {address}")
    return "\n".join(lines)


def _welcome(label_studio: LabelStudio, backend_url: str, addresses: str) -> None:
    _say(
        f"\n"
        f"Label Studio  {label_studio.url}\n"
        f"    email     {label_studio.email}\n"
        f"    password  {label_studio.password}\n"
        f"Backend       {backend_url}\n"
        f"Projects, painted; click a row to see the masks:\n{addresses}\n"
        f"Mend one by clicks: docs/interactive.md\n"
        f"Logs          {_LOGS_DIR}\n"
        f"\n"
        f"Ctrl-C stops everything.\n"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _stop_as_ctrl_c_does(_signal_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
