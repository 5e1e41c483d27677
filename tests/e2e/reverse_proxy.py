"""nginx before another server, so that it lives below a path."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Final

from tests.e2e.label_studio import LabelStudio, running_label_studio
from tests.e2e.processes import (
    LOOPBACK,
    accepts_connections,
    free_port,
    require_program,
    running,
)

_START_TIMEOUT_S: Final = 20
# As Label Studio's own nginx image does it: the prefix goes, the rest stays. Every
# path is the test's own, so that no right is needed and no service is disturbed.
_CONFIG: Final = Template("""
daemon off;
worker_processes 1;
pid $folder/nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
    access_log $folder/access.log;
    client_body_temp_path $folder/client_body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    client_max_body_size 350m;
    # Nothing is written to disk: started by root, its worker is nobody.
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    server {
        listen $listen;
        location $prefix/ {
            proxy_set_header Host $$http_host;
            proxy_set_header X-Forwarded-For $$proxy_add_x_forwarded_for;
            proxy_read_timeout 300;
            proxy_redirect off;
            proxy_pass http://$upstream/;
        }
    }
}
""")


@contextmanager
def running_label_studio_below(
    prefix: str, *, folder: Path, log_path: Path
) -> Iterator[LabelStudio]:
    """Run a Label Studio whose address is a path on a reverse proxy.

    Args:
        prefix: the path, with a leading slash and none behind.
        folder: as for `running_label_studio`.
        log_path: as there; nginx logs beside it.
    """
    listen = f"{LOOPBACK}:{free_port()}"
    port = free_port()
    with (
        running_nginx(
            folder=folder.with_name(f"{folder.name}-nginx"),
            log_path=log_path.with_name(f"{log_path.stem}-nginx.log"),
            listen=listen,
            prefix=prefix,
            upstream=f"{LOOPBACK}:{port}",
        ),
        running_label_studio(
            folder=folder,
            log_path=log_path,
            port=port,
            public_url=f"http://{listen}{prefix}",
        ) as server,
    ):
        yield server


@contextmanager
def running_nginx(
    *, folder: Path, log_path: Path, listen: str, prefix: str, upstream: str
) -> Iterator[None]:
    """Run nginx with one path.

    Args:
        folder: to be made, for its configuration and files.
        log_path: for its errors.
        listen: its host and port.
        prefix: the path, with a leading slash and none behind.
        upstream: host and port of what is behind it.
    """
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.substitute(
            folder=folder, listen=listen, prefix=prefix, upstream=upstream
        )
    )
    # "-e": without it nginx first tries the system's log, which is not ours.
    program = require_program("nginx")
    with running(
        [program, "-e", "stderr", "-p", str(folder), "-c", str(config)],
        environment={},
        log_path=log_path,
        is_ready=lambda: accepts_connections(listen),
        timeout_s=_START_TIMEOUT_S,
    ):
        yield
