"""Every package of the backend has one door, and all others use it."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import backend

ROOT: Final = Path(backend.__file__).parent
# Imports a library that need not be installed, so no door can hand it on.
APART: Final = {("label_studio_ml", "backend.server.label_studio_ml")}
# What a package offers. A change here is a change of what packages promise each other.
DOORS: Final = {
    "batch": [
        "ERRORS",
        "OUTPUT",
        "Backlog",
        "ChunkRunner",
        "JobQueue",
        "LocalRun",
        "Progress",
        "ProgressBar",
        "QueuedRun",
        "RunOutcome",
        "RunRecords",
        "RunSpec",
        "RunWatcher",
        "Session",
        "alike_failures",
        "connect",
        "log_beside_the_bar",
        "print_failures",
        "print_plan",
        "print_summary",
        "project_info",
        "queue_connection",
        "queue_of",
        "require",
        "run_worker",
        "write_failures",
    ],
    "cache": [
        "CONNECT_TIMEOUT_S",
        "KEY_PREFIX",
        "LEASE_TTL_S",
        "MAX_LAYER_BYTES",
        "READ_TIMEOUT_S",
        "SIZE_LIMIT_BYTES",
        "Cache",
        "CacheStats",
        "EncodingStore",
        "FeatureStore",
        "FinishedStore",
        "LeasedElsewhere",
        "MemoryUsage",
        "Slots",
        "UnreadableScores",
        "decode_score_maps",
        "encode_score_maps",
        "hold_leases",
        "open_cache",
        "poll_intervals_s",
        "redis_memory_usage",
        "score_key",
    ],
    "cli": ["build_app", "main"],
    "doctor": ["Finding", "examine", "print_findings", "print_json", "problem"],
    "export": [
        "INDEX_FILE",
        "Choice",
        "ExportReport",
        "ExportSpec",
        "Exporter",
        "Format",
        "known_formats",
        "whole_folder",
    ],
    "feedback": [
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
    ],
    "http": [
        "EXCERPT_BYTES",
        "HostRule",
        "HttpClient",
        "NetworkScope",
        "Resolve",
        "Response",
        "basic_auth",
        "is_number",
        "is_reserved",
        "origin",
        "parse_url",
        "quote_line",
        "resolve_host",
        "shorten",
    ],
    "images": ["ImageFetcher"],
    "inference": [
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
    ],
    "label_config": [
        "EXAMPLE",
        "ClickTarget",
        "DrawnTags",
        "LabelConfig",
        "image_addresses",
        "is_skipped",
        "labels_by_control",
        "loose_end",
        "read_drawn_tags",
        "read_label_config",
        "read_value",
    ],
    "label_studio": [
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
    ],
    "regions": [
        "Canvas",
        "ControlTag",
        "DrawnRegion",
        "Part",
        "SeenRegion",
        "control_tags",
        "drawn_regions",
        "maps_of_labels",
        "new_region_id",
        "outline",
        "paint",
        "parts",
        "prediction",
        "redraw",
        "seen_regions",
    ],
    "page": ["Doctor", "Page", "PageGuard", "Projects", "State"],
    "server": ["build_app", "server_options"],
    "settings": ["Settings", "is_loopback"],
}


def packages() -> list[str]:
    return sorted(folder.parent.name for folder in ROOT.glob("*/__init__.py"))


def imports(file: Path) -> Iterator[str]:
    """Modules that a file imports from, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_every_package_is_known() -> None:
    assert packages() == sorted(DOORS)


@pytest.mark.parametrize("package", sorted(DOORS))
def test_a_door_offers_just_what_is_written_here(package: str) -> None:
    door = importlib.import_module(f"backend.{package}")

    assert sorted(door.__all__) == sorted(DOORS[package])
    assert all(hasattr(door, name) for name in door.__all__)


@pytest.mark.parametrize("package", sorted(DOORS))
def test_a_door_says_what_the_package_refuses_to_know(package: str) -> None:
    text = importlib.import_module(f"backend.{package}").__doc__ or ""

    assert "Refuses to know" in " ".join(text.split())


@pytest.mark.parametrize("package", sorted(DOORS))
def test_a_package_is_more_than_one_file(package: str) -> None:
    files = [file for file in (ROOT / package).rglob("*.py") if file.name[0] != "_"]

    assert len(files) > 1


@pytest.mark.parametrize(
    "file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT))
)
def test_other_packages_are_entered_by_their_door(file: Path) -> None:
    own = file.relative_to(ROOT).parts[0].removesuffix(".py")

    past_the_door = [
        module
        for module in imports(file)
        if (parts := module.split("."))[0] == "backend"
        and len(parts) > 2
        and parts[1] != own
        and (own, module) not in APART
    ]

    assert past_the_door == []
