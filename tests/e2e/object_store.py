"""An S3-compatible server (moto's) in a virtual environment of its own, on loopback.

Speaks S3 over HTTP like any other: presigned addresses, path-style buckets. It
checks no signature, so pictures are put there without one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx

from tests.e2e.processes import (
    LOOPBACK,
    REPOSITORY,
    NotReady,
    answers,
    free_port,
    running,
)

# The Makefile's target `object-store` installs it.
_PROGRAM: Final = REPOSITORY / ".venvs" / "s3" / "bin" / "moto_server"
_START_TIMEOUT_S: Final = 60
_TIMEOUT_S: Final = 20


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """A running S3 server with one bucket."""

    port: int
    bucket: str

    @property
    def endpoint(self) -> str:
        """What an S3 client is told as its endpoint."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def host(self) -> str:
        """What a backend must name in IMAGE_HOSTS to read from here."""
        return f"{LOOPBACK}:{self.port}"

    def storage_settings(self, prefix: str) -> dict[str, str]:
        """What Label Studio's API wants to know of the folder `prefix` in here."""
        return {
            "bucket": self.bucket,
            "prefix": prefix,
            "s3_endpoint": self.endpoint,
            "aws_access_key_id": "any",
            "aws_secret_access_key": "any",
        }

    def put(self, key: str, content: bytes) -> None:
        """Store one object under any key that S3 allows; it must be a new one."""
        address = f"{self.endpoint}/{self.bucket}/{quote(key)}"
        headers = {"Content-Type": "application/octet-stream"}
        answer = httpx.put(
            address, content=content, headers=headers, timeout=_TIMEOUT_S
        )
        answer.raise_for_status()


@contextmanager
def running_object_store(*, bucket: str, log_path: Path) -> Iterator[ObjectStore]:
    """Run an S3 server, empty but for one bucket, until the block ends.

    Args:
        bucket: its name.
        log_path: where the server's output goes.
    """
    if not _PROGRAM.exists():
        raise NotReady(
            f"There is no {_PROGRAM}. `make object-store` installs an S3-compatible "
            f"server there."
        )
    store = ObjectStore(port=free_port(), bucket=bucket)
    with running(
        [str(_PROGRAM), "-H", LOOPBACK, "-p", str(store.port)],
        environment={},
        log_path=log_path,
        is_ready=lambda: answers(f"{store.endpoint}/moto-api/"),
        timeout_s=_START_TIMEOUT_S,
    ):
        made = httpx.put(f"{store.endpoint}/{bucket}", timeout=_TIMEOUT_S)
        made.raise_for_status()
        yield store
