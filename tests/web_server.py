"""A real HTTP server on 127.0.0.1 that answers what a test tells it to."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Respond = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class SeenRequest:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class WebServer:
    """Routes by path without query; an unknown path is a 404."""

    port: int
    seen: list[SeenRequest] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    _routes: dict[str, Respond] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def route(self, path: str, respond: Respond) -> None:
        self._routes[path] = respond

    def serve(
        self,
        path: str,
        body: bytes = b"",
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> str:
        """Answer a path with fixed bytes; returns the URL."""

        def respond(handler: BaseHTTPRequestHandler) -> None:
            send(handler, body, status=status, headers=headers)

        self.route(path, respond)
        return self.url + path

    def redirect(self, path: str, location: str, status: int = 302) -> str:
        return self.serve(path, status=status, headers={"Location": location})

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length", 0))
        headers = {key.lower(): value for key, value in handler.headers.items()}
        body = handler.rfile.read(length)
        self.seen.append(SeenRequest(handler.command, handler.path, headers, body))
        missing: Respond = lambda handler: send(handler, b"no", status=404)  # noqa: E731
        self._routes.get(handler.path.partition("?")[0], missing)(handler)


def send(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(body)


@contextlib.contextmanager
def running_web_server(tls: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    server: WebServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.respond(self)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that gives up early is what several tests want

    with Listener(("127.0.0.1", 0), Handler) as listener:
        if tls is not None:
            listener.socket = tls.wrap_socket(listener.socket, server_side=True)
        server = WebServer(port=listener.server_port)
        thread = threading.Thread(
            target=listener.serve_forever, kwargs={"poll_interval": 0.02}
        )
        thread.start()
        try:
            yield server
        finally:
            server.stopped.set()
            listener.shutdown()
            thread.join()
