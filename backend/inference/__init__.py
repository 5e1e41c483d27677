"""A parsed request in, Label Studio predictions out, each task for itself.

Prefetches images, asks the cache and then the model, paints regions, checks them.
Refuses to know HTTP, the environment and how its parts are made.
"""

from backend.inference.metrics import Metrics
from backend.inference.predictor import Answer, Predictor, TaskOutcome
from backend.inference.prefetch import Job, Prefetcher
from backend.inference.scorer import Scorer, Segmenter
from backend.label_config import EXAMPLE

__all__ = [
    "EXAMPLE",
    "Answer",
    "Job",
    "Metrics",
    "Predictor",
    "Prefetcher",
    "Scorer",
    "Segmenter",
    "TaskOutcome",
]
