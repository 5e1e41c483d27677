"""What people correct in Label Studio in, what their projects learn from it out.

Annotations become corrections, which are kept in Redis or in a file, and work behind
webhooks. Refuses to know HTTP servers, command lines, and who a person is.
"""

from backend.feedback.store import FeedbackStore, WaitingEvent, open_feedback_store
from backend.feedback.types import Correction, RegionOutcome, TaughtHeads

__all__ = [
    "Correction",
    "FeedbackStore",
    "RegionOutcome",
    "TaughtHeads",
    "WaitingEvent",
    "open_feedback_store",
]
