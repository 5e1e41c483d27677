"""Clients that ask a server as fast as it answers, and how long they wait."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from time import perf_counter
from typing import Any, Final

import httpx

_PROBE_EVERY_S: Final = 0.05
_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """What clients met.

    Attributes:
        latencies_s: of each request, sorted.
        spent_s: from the first request to the last answer.
    """

    latencies_s: Sequence[float]
    spent_s: float

    @property
    def per_s(self) -> float:
        """Requests per second."""
        return len(self.latencies_s) / self.spent_s

    def at(self, share: float) -> float:
        """The latency that this share of the requests stays below."""
        place = min(len(self.latencies_s) - 1, int(share * len(self.latencies_s)))
        return self.latencies_s[place]


def new_client(*, keeps_alive: bool) -> httpx.Client:
    """A client with a connection of its own, or one for every request."""
    limits = httpx.Limits(max_keepalive_connections=None if keeps_alive else 0)
    return httpx.Client(limits=limits, timeout=_TIMEOUT_S, trust_env=False)


def load(
    url: str,
    bodies: Callable[[], Mapping[str, Any] | None],
    *,
    n_clients: int,
    keeps_alive: bool = False,
) -> Load:
    """Have clients POST one body after the other, until there is None.

    Raises:
        httpx.HTTPError: if a request is not answered with a 2xx.
        ValueError: if a task is left without prediction.
    """

    def ask() -> list[float]:
        latencies = []
        with new_client(keeps_alive=keeps_alive) as client:
            barrier.wait()
            while (body := bodies()) is not None:
                start = perf_counter()
                answer = client.post(f"{url}/predict", json=body)
                latencies.append(perf_counter() - start)
                answer.raise_for_status()
                if not all(answer.json()["results"]):
                    raise ValueError("a task is left without prediction")
        return latencies

    barrier = threading.Barrier(n_clients + 1)
    with ThreadPoolExecutor(n_clients) as pool:
        clients = [pool.submit(ask) for _ in range(n_clients)]
        barrier.wait()
        start = perf_counter()
        latencies = [one for client in clients for one in client.result()]
        spent_s = perf_counter() - start
    return Load(latencies_s=sorted(latencies), spent_s=spent_s)


def post_json(url: str, body: bytes) -> Any:
    """POST to `/predict` on a connection of its own; the answer's JSON.

    By the leanest client at hand: one that takes longer than the server would measure
    itself.
    """
    connection = HTTPConnection(url.removeprefix("http://"), timeout=_TIMEOUT_S)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/predict", body=body, headers=headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 200, text[:300]
    return json.loads(text)


def for_seconds(
    body: Mapping[str, Any], seconds: float
) -> Callable[[], Mapping[str, Any] | None]:
    """The same body for so long, beginning with the first one taken."""
    ends: list[float] = []

    def next_body() -> Mapping[str, Any] | None:
        if not ends:
            ends.append(perf_counter() + seconds)
        return body if perf_counter() < ends[0] else None

    return next_body


def one_by_one(
    bodies: Iterator[Mapping[str, Any]],
) -> Callable[[], Mapping[str, Any] | None]:
    """Each body once, whichever client takes it."""
    lock = threading.Lock()

    def next_body() -> Mapping[str, Any] | None:
        with lock:
            return next(bodies, None)

    return next_body


@contextmanager
def probing(url: str) -> Iterator[list[float]]:
    """Ask for `/health` all the time; the list fills with latencies."""
    latencies: list[float] = []
    is_over = threading.Event()

    def probe() -> None:
        with new_client(keeps_alive=False) as client:
            while not is_over.wait(_PROBE_EVERY_S):
                start = perf_counter()
                client.get(f"{url}/health").raise_for_status()
                latencies.append(perf_counter() - start)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    try:
        yield latencies
    finally:
        is_over.set()
        thread.join()


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Call all at the same moment; their results."""
    barrier = threading.Barrier(len(calls))

    def call(one: Callable[[], Any]) -> Any:
        barrier.wait()
        return one()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def wait_until_ready(url: str, timeout_s: float = 120.0) -> None:
    """Wait until the model is loaded.

    Raises:
        TimeoutError: if it is not in time.
    """
    deadline = time.monotonic() + timeout_s
    while httpx.get(f"{url}/health", timeout=10).json()["model"] != "ready":
        if time.monotonic() > deadline:
            raise TimeoutError("the model is not loaded")
        time.sleep(0.1)
