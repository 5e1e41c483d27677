#!/usr/bin/env bash
# rq 3.0.0 (redis-py 8.1.0, Redis 7.0.15): when the kernel kills a job for its memory,
# the job fails, but its `on_failure` is not called.
#
# What ends jobs of large models is mostly no exception but SIGKILL for want of memory.
# `on_failure` is where a job's lease is released, its files are removed, somebody is
# told. We guessed that whatever ends a job as failed, calls it.
# Seen: an exception calls it. The death of the whole worker calls it too (with
# AbandonedJobError, once a next worker cleans up). The death of the forked work-horse
# alone does not, though the worker lives on, notices, says why in the result and moves
# the job to the registry of failed jobs. So the smaller accident is the silent one. Give
# the worker a `work_horse_killed_handler` that does what `on_failure` does, or look
# through the registry of failed jobs now and then.
#
# The jobs send SIGKILL themselves, as the kernel would. Needs redis-server on the PATH.
# Exits with another status than 0 once that changes.
set -euo pipefail

folder=$(mktemp -d)
redis=
trap '[ -z "$redis" ] || kill "$redis"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    rq==3.0.0 redis==8.1.0 2>/dev/null
cd "$folder"
redis-server --port 0 --unixsocket "$folder/redis.sock" --save '' >/dev/null &
redis=$!

cat >jobs.py <<'PYTHON'
import os
import signal

from redis import Redis

connection = Redis(unix_socket_path="redis.sock")


def fail():
    raise ValueError


def lose_horse():
    os.kill(os.getpid(), signal.SIGKILL)


def lose_worker():
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def note(job, connection, kind, value, traceback):
    connection.rpush("noted", f"{job.id}: {kind.__name__}")
PYTHON

cat >work.py <<'PYTHON'
from jobs import connection
from rq import Worker

Worker(["segment"], connection=connection).work(burst=True, logging_level="CRITICAL")
PYTHON

cat >ask.py <<'PYTHON'
import subprocess
import sys
import time

import jobs
from redis.exceptions import ConnectionError
from rq import Callback, Queue
from rq.job import JobStatus
from rq.registry import StartedJobRegistry

for _ in range(100):
    try:
        jobs.connection.ping()
        break
    except ConnectionError:
        time.sleep(0.1)
queue = Queue("segment", connection=jobs.connection)
for name in ("fail", "lose_horse", "lose_worker"):
    job = queue.enqueue(getattr(jobs, name), job_id=name, on_failure=Callback(jobs.note))
    subprocess.run([sys.executable, "work.py"], stderr=subprocess.DEVNULL)
    # What the maintenance of the next worker does, some minutes early.
    StartedJobRegistry(queue=queue).cleanup(time.time() + 3600)
    reason = job.latest_result().exc_string.strip().splitlines()[-1]
    print(f"{name}: {job.get_status().value}; {reason[:54]}")
    assert job.get_status() == JobStatus.FAILED, name
noted = [line.decode() for line in jobs.connection.lrange("noted", 0, -1)]
print("on_failure was called for", noted)
assert noted == ["fail: ValueError", "lose_worker: AbandonedJobError"], noted
PYTHON
"$folder/venv/bin/python" ask.py
