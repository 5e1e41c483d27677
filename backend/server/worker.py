"""gunicorn's threaded worker, of which no thread waits for a sender.

gunicorn gives each connection a thread, which then reads for as long as the sender
cares to take: as many slow senders as threads, and nobody gets an answer. Here the
thread that polls gathers each request until it is whole, or its time is up; the others
get whole requests alone. Knows sockets, and gunicorn's inside: hence the narrow range
of versions in pyproject.toml. Knows nothing of what is served.
"""

import contextlib
import json
import logging
import os
import selectors
import socket
import time
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from gunicorn import util
from gunicorn.workers.gthread import TConn, ThreadWorker

from backend.server.arrival import LONGEST_HEAD_BYTES, Arrival
from backend.server.background import Background
from backend.server.limits import RequestLimits

logger = logging.getLogger(__name__)

_READ_BYTES: Final = 256 * 1024
# How long what comes after a last answer is read and thrown away: closed at once, the
# connection would be reset before the sender has read the answer. As long does a worker
# that stops wait for a request.
_LINGER_S: Final = 2.0
_REPORT_EVERY_S: Final = 60.0
# Of the two minutes after which it would be taken for dead.
_NOTIFY_EVERY_S: Final = 1.0
_REASONS: Final = {
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """One process, many threads, and one that waits for all senders."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """See gunicorn."""
        super().__init__(*args, **kwargs)
        self._limits = RequestLimits()
        self._background: Background | None = None
        # Who sends, and who is done with, both in the order of their deadlines.
        self._arriving: dict[TConn, tuple[float, Arrival]] = {}
        self._lingering: dict[TConn, float] = {}
        # Those among both that the poller looks at.
        self._watched: set[TConn] = set()
        # Those that threads are at work on.
        self._served: dict[TConn, Arrival] = {}
        self._n_dropped = 0
        self._report_at_s = 0.0
        self._notify_at_s = 0.0
        self._stops_at_once = False

    def load_wsgi(self) -> None:
        """See gunicorn."""
        super().load_wsgi()
        self._background = Background.of(self.wsgi)
        if self._background is not None:
            self._limits = self._background.limits

    def run(self) -> None:
        """Serve until asked to stop, then end what goes on behind the requests."""
        try:
            super().run()
        finally:
            if self._stops_at_once:
                # Else the interpreter would wait for every thread, model included.
                logging.shutdown()
                os._exit(0)
            if self._background is not None:
                self._background.finish()

    def notify(self) -> None:
        """Tell the parent that all is well; gunicorn asks for it at every event."""
        now = time.monotonic()
        if now >= self._notify_at_s:
            self._notify_at_s = now + _NOTIFY_EVERY_S
            super().notify()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop: requests at hand are answered, no other work is begun."""
        super().handle_exit(sig, frame)
        if self._background is not None:
            self._background.stop()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Stop at once, as Ctrl-C asks for: nothing is waited for."""
        self._stops_at_once = True
        super().handle_quit(sig, frame)

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, and let go of an older one where there are too many."""
        super().accept(listener)
        while self.nr_conns >= self.worker_connections and self._drop_oldest():
            pass

    def enqueue_req(self, conn: TConn) -> None:
        """Wait for the request of a connection that may begin to send one."""
        arrival = Arrival(self.cfg, conn.client, max_body_bytes=self._limits.max_bytes)
        self._arriving[conn] = (time.monotonic() + self._limits.timeout_s, arrival)
        conn.sock.setblocking(False)
        if conn.initialized and (ahead := conn.parser.unreader.take_buffered()):
            self._take(conn, ahead)
        # Most have sent all of it already, or have closed the connection.
        if conn in self._arriving:
            self._receive(conn)
        if conn in self._arriving:
            self._watch(conn)

    def murder_pending(self) -> None:
        """Let go of those whose time is up; gunicorn calls it every second."""
        super().murder_pending()
        now = time.monotonic()
        latest = now if self.alive else now + self._limits.timeout_s - _LINGER_S
        for conn in [c for c, (until, _) in self._arriving.items() if until <= latest]:
            self._time_out(conn)
        for conn in [c for c, until in self._lingering.items() if until <= now]:
            self._close(conn)
        if self._n_dropped and now >= self._report_at_s:
            logger.warning(
                "Dropped %d connections whose request did not arrive in time, or to "
                "make room for others.",
                self._n_dropped,
            )
            self._n_dropped, self._report_at_s = 0, now + _REPORT_EVERY_S

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """Answer a request, in a thread; what is too large is not read on."""
        n_bytes = self._served[conn].too_large_bytes
        if n_bytes is not None:
            # However it was sent, the application refuses it by its length.
            length = ("CONTENT-LENGTH", str(n_bytes))
            framing = {"CONTENT-LENGTH", "TRANSFER-ENCODING"}
            req.headers = [h for h in req.headers if h[0] not in framing] + [length]
            req.force_close()
        req._expected_100_continue = False  # said by `_take`
        conn.sock.settimeout(self._limits.timeout_s)
        try:
            return bool(super().handle_request(req, conn))
        except TimeoutError:
            logger.warning(
                "An answer was not taken within %g s.", self._limits.timeout_s
            )
            return False

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """Keep a connection for its next request, or let it end."""
        self._served.pop(conn, None)
        is_kept = not fs.cancelled() and fs.exception() is None and fs.result()
        if is_kept and conn.parser.unreader.data:
            self.enqueue_req(conn)  # its next request has begun to arrive
        elif is_kept:
            super().finish_request(conn, fs)
        else:
            self._linger(conn)

    def _receive(self, conn: TConn) -> None:
        try:
            data = conn.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._take(conn, data)
        else:
            self._close(conn)

    def _take(self, conn: TConn, data: bytes) -> None:
        """Go on with what has come of a request."""
        _, arrival = self._arriving[conn]
        arrival.feed(data)
        if arrival.is_complete:
            self._serve(conn)
        elif not arrival.has_head and len(arrival.data) > LONGEST_HEAD_BYTES:
            self._refuse(
                conn, 431, f"The headers have over {LONGEST_HEAD_BYTES} bytes."
            )
        elif arrival.awaits_go_ahead:
            arrival.awaits_go_ahead = False
            with contextlib.suppress(OSError):
                conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while self._n_held_bytes() > self._limits.max_held_bytes:
            if not self._drop_largest():
                return

    def _serve(self, conn: TConn) -> None:
        """Give a request to a thread, which finds all of it read."""
        _, arrival = self._arriving[conn]
        self._forget(conn)
        self._served[conn] = arrival
        # In place of `init`, which would make a parser that reads the socket.
        conn.parser, conn.initialized = arrival.parser, True
        super().enqueue_req(conn)

    def _time_out(self, conn: TConn) -> None:
        _, arrival = self._arriving[conn]
        self._n_dropped += 1
        if arrival.data:
            self._refuse(
                conn,
                408,
                f"The request did not arrive within {self._limits.timeout_s:g} s. Send "
                f"it faster, or raise REQUEST_TIMEOUT_S.",
            )
        else:
            self._close(conn)

    def _drop_oldest(self) -> bool:
        """Make room for a connection: the newest may be somebody who is quick."""
        waiting = [*self._lingering, *self._arriving]
        if len(waiting) < 2:
            return False
        self._n_dropped += waiting[0] in self._arriving
        self._close(waiting[0])
        return True

    def _drop_largest(self) -> bool:
        """Make room in memory; what is no longer than a head takes none."""
        sizes = {
            conn: len(arrival.data)
            for conn, (_, arrival) in self._arriving.items()
            if len(arrival.data) > LONGEST_HEAD_BYTES
        }
        if not sizes:
            return False
        self._n_dropped += 1
        self._refuse(
            max(sizes, key=lambda conn: sizes[conn]),
            503,
            "Too many large requests arrive at once. Send it again later.",
        )
        return True

    def _n_held_bytes(self) -> int:
        """Bytes of requests that the application has not read yet."""
        arriving = sum(len(arrival.data) for _, arrival in self._arriving.values())
        return arriving + sum(len(arrival.data) for arrival in self._served.values())

    def _refuse(self, conn: TConn, status: int, message: str) -> None:
        """Answer without a thread."""
        reason = _REASONS[status]
        error = {"type": reason.replace(" ", ""), "message": message}
        body = json.dumps({"error": error})
        head = (
            f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            conn.sock.send((head + body).encode())
        self._linger(conn)

    def _linger(self, conn: TConn) -> None:
        """Say that no more comes, and give the other side the time to read it."""
        self._forget(conn)
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            self._watch(conn)
        except (OSError, ValueError):  # gone already
            self._close(conn)
            return
        self._lingering[conn] = time.monotonic() + _LINGER_S

    def _discard(self, conn: TConn) -> None:
        try:
            if conn.sock.recv(_READ_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(conn)

    def _watch(self, conn: TConn) -> None:
        conn.sock.setblocking(False)
        self.poller.register(
            conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn)
        )
        self._watched.add(conn)

    def _on_readable(self, conn: TConn, _: socket.socket) -> None:
        # It may have been let go of between two events of the same poll.
        if conn in self._arriving:
            self._receive(conn)
        elif conn in self._lingering:
            self._discard(conn)

    def _forget(self, conn: TConn) -> None:
        self._arriving.pop(conn, None)
        self._lingering.pop(conn, None)
        if conn in self._watched:
            self._watched.remove(conn)
            with contextlib.suppress(KeyError, ValueError, OSError):
                self.poller.unregister(conn.sock)

    def _close(self, conn: TConn) -> None:
        self._forget(conn)
        self.nr_conns -= 1
        util.close(conn.sock)
