"""A parsed request in, Label Studio predictions out, each task for itself.

Prefetches images, asks the cache and then the model, paints regions, checks them.
Refuses to know HTTP, the environment and how its parts are made.
"""

from backend.inference.batcher import DeadlineExceeded
from backend.inference.lazy_segmenter import LazySegmenter
from backend.inference.metrics import Metrics
from backend.inference.pipeline import TaskOutcome, query_of
from backend.inference.plan import Plan, Taught, nothing_taught
from backend.inference.predictor import Answer, Predictor
from backend.inference.prefetch import Job, PendingTask, Prefetcher, jobs_of
from backend.inference.scorer import Scorer, Segmenter
from backend.inference.versions import model_version, weights_fingerprint
from backend.label_config import EXAMPLE

__all__ = [
    "EXAMPLE",
    "Answer",
    "DeadlineExceeded",
    "Job",
    "LazySegmenter",
    "Metrics",
    "PendingTask",
    "Plan",
    "Predictor",
    "Prefetcher",
    "Scorer",
    "Segmenter",
    "TaskOutcome",
    "Taught",
    "jobs_of",
    "model_version",
    "nothing_taught",
    "query_of",
    "weights_fingerprint",
]
