"""Checks of what labels can learn from corrections, and what that lacks."""

from contextlib import closing

from backend.doctor.findings import Check, Finding, ok, problem_of, skipped, warning
from backend.doctor.project import Project
from backend.engine import settings_feedback
from backend.errors import FeedbackUnavailable, SettingsError
from backend.feedback import FeedbackStore
from backend.settings import Settings, is_loopback

_SUBJECT = "learning"


def check_learning(settings: Settings, project: Project | None) -> Check[None]:
    """Say what was learned, or what keeps labels from it.

    Whether Label Studio's webhook is there, the check of the connection tells.

    Args:
        settings: of the operator.
        project: of which it is told, None for none.
    """
    if not settings.learning:
        yield ok(_SUBJECT, "off (LEARNING=off): nothing of what is corrected is kept")
        return
    try:
        store = settings_feedback(settings)
    except SettingsError:  # of which another finding tells
        yield skipped(_SUBJECT, "REDIS_URL cannot be read")
        return
    with closing(store):
        try:
            yield _describe(store, project)
        except FeedbackUnavailable as error:
            yield problem_of(_SUBJECT, error)
    if settings.webhook_secret is None and not is_loopback(settings.host):
        yield warning(
            _SUBJECT,
            "WEBHOOK_SECRET is not set: whoever reaches the backend can send it "
            "corrections, which labels learn from",
            "Set WEBHOOK_SECRET, and connect the backend as http://<backend>/<secret>.",
        )


def _describe(store: FeedbackStore, project: Project | None) -> Finding:
    if project is None:
        n_projects = len(store.projects())
        return ok(
            _SUBJECT, f"{n_projects} projects are learned from: {store.describe()}"
        )
    name = str(project.id)
    taught = store.heads(name)
    seen = f"{store.n_corrections(name)} corrected tasks are kept"
    if taught is not None and taught.version:
        seen += f", and version {taught.version} of what they teach counts"
    if store.is_frozen(name):
        seen += "; frozen"
    return ok(
        _SUBJECT,
        seen,
        f"`diffsegmenter feedback show --project {name}` says more",
    )
