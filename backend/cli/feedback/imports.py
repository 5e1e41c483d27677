"""`feedback import`: learning from annotations that were there before."""

from typing import Final, NoReturn

import typer

from backend.batch import (
    ERRORS,
    Progress,
    ProgressBar,
    Session,
    print_failures,
)
from backend.cli.feedback.opened import OUTPUT, ProjectOption
from backend.cli.refusals import exit_on_refusal
from backend.errors import SettingsError
from backend.feedback import (
    AnswerLog,
    FeedbackStore,
    Importer,
    ImportReport,
    Learner,
)
from backend.signals import shutdown_on_signals

_INTERRUPTED: Final = 130


def import_(project: ProjectOption) -> None:
    """Learn from a project's annotations that are there already.

    What its webhooks have told is found the same, and what they have not is made up
    for; annotations that are gone are forgotten. Of very many, the latest are read.
    LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY must be set, and the rest be as `serve`
    has it. Exit status: 0 all were read, 1 some images or regions could not be, 2 it
    cannot begin, 130 it was interrupted.
    """
    with exit_on_refusal():
        session = Session.open(project)
        store, teacher = session.engine.feedback, session.engine.teacher
        if store is None or teacher is None:
            raise SettingsError("LEARNING is off; set it to on to learn from anything.")
        report, n_changes = _import(session, store)
        _print_report(report, project)
        if n_changes and teacher.learn_after and not report.is_stopped:
            teacher.teach(str(project))
    if report.is_stopped:
        raise typer.Exit(_INTERRUPTED)
    if report.failures:
        raise typer.Exit(1)


def _import(session: Session, store: FeedbackStore) -> tuple[ImportReport, int]:
    """How it went, and how many corrections are new, or other than before."""
    changed: list[str] = []
    learner = Learner(
        store=store,
        predictor=session.engine.predictor,
        answers=AnswerLog(session.engine.cache),
        access_of=lambda event: session.client.access,
        note_change=changed.append,
    )
    with (
        shutdown_on_signals(session.stop, say=ERRORS.print, at_once=_interrupt),
        ProgressBar(ERRORS) as bar,
    ):
        importer = Importer(
            tasks=session.tasks,
            learner=learner,
            show=lambda seen, failed, total: bar.show(
                Progress(total=total, done=seen - failed, failed=failed, is_listed=True)
            ),
            stop=session.stop,
        )
        return importer.run(), len(changed)


def _print_report(report: ImportReport, project: int) -> None:
    lines = [
        f"Project {project}: {report.n_read} annotations read, of "
        f"{report.n_annotations} that it has."
    ]
    if report.n_forgotten:
        lines.append(f"{report.n_forgotten} that are gone were forgotten.")
    if report.is_stopped:
        lines.append("Stopped. Run the same command to continue.")
    for line in lines:
        OUTPUT.print(line, markup=False, highlight=False, soft_wrap=True)
    print_failures(ERRORS, report.failures, what="Not read, or not whole:")


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt
