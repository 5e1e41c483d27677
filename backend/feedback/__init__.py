"""What people correct in Label Studio in, what their projects learn from it out.

Annotations become corrections, which are kept in Redis or in a file, and work behind
webhooks. Refuses to know HTTP servers, command lines, and who a person is.
"""

from backend.feedback.answers import AnswerLog
from backend.feedback.importing import Importer, ImportReport
from backend.feedback.learner import Learner
from backend.feedback.loop import FeedbackLoop
from backend.feedback.store import FeedbackStore, WaitingEvent, open_feedback_store
from backend.feedback.summary import LabelSummary, ProjectSummary, summarise
from backend.feedback.taught import TaughtProjects, project_number
from backend.feedback.teaching import Teacher
from backend.feedback.types import Correction, RegionOutcome, TaughtHeads, read_heads

__all__ = [
    "AnswerLog",
    "Correction",
    "FeedbackLoop",
    "FeedbackStore",
    "ImportReport",
    "Importer",
    "LabelSummary",
    "Learner",
    "ProjectSummary",
    "RegionOutcome",
    "TaughtHeads",
    "TaughtProjects",
    "Teacher",
    "WaitingEvent",
    "open_feedback_store",
    "project_number",
    "read_heads",
    "summarise",
]
