"""Whole projects: tasks in Label Studio in, predictions stored there out, once each.

By this process or by workers on RQ; progress and failures for whoever watches. Refuses
to know HTTP servers and command lines.
"""

from backend.batch.backlog import Backlog
from backend.batch.chunk_runner import ChunkRunner
from backend.batch.job_queue import JobQueue, queue_connection
from backend.batch.listing import RunSpec
from backend.batch.progress_bar import (
    ProgressBar,
    alike_failures,
    print_failures,
)
from backend.batch.report import print_plan, print_summary, write_failures
from backend.batch.run_records import Progress, RunRecords
from backend.batch.runs import LocalRun, QueuedRun
from backend.batch.session import (
    ERRORS,
    OUTPUT,
    RunOutcome,
    Session,
    connect,
    log_beside_the_bar,
    project_info,
    queue_of,
    require,
    run_worker,
)
from backend.batch.watcher import RunWatcher

__all__ = [
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
]
