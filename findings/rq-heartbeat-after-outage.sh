#!/usr/bin/env bash
# rq 3.0.0 (redis-py 8.1.0, Redis 7.0.15): a job that was done during an outage of Redis
# is called failed, and a worker does not stop while the outage lasts.
#
# Jobs that take minutes renew an entry in Redis by heartbeats. We guessed that after a
# Redis that was away for longer than that entry lives (a restart, a new address) the
# next heartbeat restores it, and a job that ends well is a success; and that a worker
# which is asked to stop stops, whether Redis is there or not.
# Seen: the heartbeat writes one field of the entry anew, `last_heartbeat`. At the end of
# a job whose result need not be kept (`result_ttl=0`) rq reads the others and meets
# KeyError 'created_at': the job, whose function has returned, is "failed", and is
# retried where there are retries. And a worker that listens while Redis is away waits
# for it without end, asked to stop or not: that flag is looked at between jobs alone.
# Write the whole entry with each heartbeat (`execution.save`), and look at the flag in
# `heartbeat`.
#
# The outage is played by deleting the entry, as its expiry does, and by ending Redis.
# Needs redis-server on the PATH. Exits with another status than 0 once that changes.
set -euo pipefail

folder=$(mktemp -d)
redis=
trap '[ -z "$redis" ] || kill "$redis" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    rq==3.0.0 redis==8.1.0 2>/dev/null
cd "$folder"
redis-server --port 0 --unixsocket "$folder/redis.sock" --save '' >/dev/null &
redis=$!

cat >jobs.py <<'PYTHON'
import time


def work():
    time.sleep(3)
PYTHON

REDIS_PID=$redis PYTHONPATH=. venv/bin/python - <<'PYTHON'
import logging
import os
import signal
import threading
import time

import jobs
from redis import Redis
from redis.exceptions import ConnectionError
from rq import Queue, SimpleWorker
from rq.timeouts import TimerDeathPenalty

connection = Redis(unix_socket_path="redis.sock")
while True:
    try:
        connection.ping()
        break
    except ConnectionError:
        time.sleep(0.1)
logging.getLogger("rq.worker").setLevel(logging.CRITICAL)


class Worker(SimpleWorker):
    death_penalty_class = TimerDeathPenalty
    outage = False

    def _install_signal_handlers(self):
        pass

    def execute_job(self, job, queue):
        execution = self.prepare_execution(job)
        threading.Timer(1, self.beat, [job, execution]).start()
        self.perform_job(job, queue, execution)

    def beat(self, job, execution):
        if self.outage:
            connection.delete(execution.key)
        self.maintain_heartbeats(job, execution)


statuses = {}
queue = Queue(connection=connection)
for outage in (False, True):
    job = queue.enqueue(jobs.work, result_ttl=0)
    worker = Worker([queue], connection=connection)
    worker.outage = outage
    worker.work(burst=True, logging_level="CRITICAL")
    # One that ended well has left nothing, as its result need not be kept.
    statuses[outage] = "failed" if job.id in queue.failed_job_registry else "finished"
    result = job.latest_result()
    error = result.exc_string.strip().splitlines()[-1] if result else "none"
    print(f"{'an outage' if outage else 'no outage'}: {statuses[outage]}, {error}")

worker = Worker([queue], connection=connection)
working = threading.Thread(
    target=worker.work, kwargs={"logging_level": "CRITICAL"}, daemon=True
)
working.start()
time.sleep(2)
os.kill(int(os.environ["REDIS_PID"]), signal.SIGTERM)
time.sleep(3)
worker._stop_requested = True
working.join(30)
print(f"30 s after it was asked to stop, the worker {'works' * working.is_alive()}")
assert statuses == {False: "finished", True: "failed"}, statuses
assert working.is_alive(), "the worker stops now"
PYTHON
