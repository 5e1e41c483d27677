"""Label Studio from outside: its API, its requests, its addresses and tokens.

In: JSON that it sends, paths of its API. Out: tasks, projects, URLs to ask, headers.
Refuses to know label configs, images and predictions' making.
"""

from backend.label_studio.auth import TokenProvider
from backend.label_studio.clicks import ClickRequest, PointPrompt
from backend.label_studio.client import LabelStudioClient, NoReply, Reply, ask
from backend.label_studio.connections import LabelStudioConnections
from backend.label_studio.image_errors import (
    SUPPORTED,
    image_errors,
    parse_image_url,
)
from backend.label_studio.project_tasks import (
    PAGE_SIZE,
    Page,
    PredictionSummary,
    ProjectInfo,
    ProjectTasks,
)
from backend.label_studio.requests import (
    PredictRequest,
    parse_new_tasks,
    parse_predict,
    parse_setup,
)
from backend.label_studio.scored_tasks import ScoredTask, worst_tasks
from backend.label_studio.task_urls import cloud_bucket, local_file, locate
from backend.label_studio.urls import (
    is_label_studio,
    is_untrusted_label_studio,
    network_scope,
    takes_token,
)

__all__ = [
    "PAGE_SIZE",
    "SUPPORTED",
    "ClickRequest",
    "LabelStudioClient",
    "LabelStudioConnections",
    "NoReply",
    "Page",
    "PointPrompt",
    "PredictRequest",
    "PredictionSummary",
    "ProjectInfo",
    "ProjectTasks",
    "Reply",
    "ScoredTask",
    "TokenProvider",
    "ask",
    "cloud_bucket",
    "image_errors",
    "is_label_studio",
    "is_untrusted_label_studio",
    "local_file",
    "locate",
    "network_scope",
    "parse_image_url",
    "parse_new_tasks",
    "parse_predict",
    "parse_setup",
    "takes_token",
    "worst_tasks",
]
