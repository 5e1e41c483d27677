"""Label Studio from PyPI, in a virtual environment of its own, on loopback.

A fresh database takes half a minute of migrations, so a migrated data folder
is kept under `.cache/` by version and each run starts from a copy of it.
Nothing here leaves the machine: analytics, error reports and the check for a
newer version are off.
"""

import fcntl
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.e2e.processes import (
    CACHE_DIR,
    LOOPBACK,
    REPOSITORY,
    NotReady,
    answers,
    child_environment,
    free_port,
    running,
)

# The Makefile's target `label-studio` installs this version.
VERSION: Final = "1.23.2"
_PROGRAM: Final = REPOSITORY / ".venvs" / "label-studio" / "bin" / "label-studio"
_TEMPLATE: Final = CACHE_DIR / f"label-studio-{VERSION}-migrated"
_EMAIL: Final = "admin@example.com"
_START_TIMEOUT_S: Final = 180

_QUIET: Final = {
    "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
    "LABEL_STUDIO_SENTRY_DSN": "",
    "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
    "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
}
# Both default to true and refuse a backend, and its webhook, on 127.0.0.1.
_ALLOW_LOOPBACK: Final = {
    "LABEL_STUDIO_ML_BLOCK_LOCAL_IP": "false",
    "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": "false",
}
# Off in this release: checks every region against the label config.
_STRICT_PREDICTIONS: Final = {
    "fflag_feat_utc_210_prediction_validation_15082025": "true"
}


@dataclass(frozen=True, kw_only=True)
class LabelStudio:
    """A running Label Studio and its one user.

    Attributes:
        url: where users and backends reach it; no trailing slash.
        folder: its data, which outlives the server.
        local_files_dir: its LOCAL_FILES_DOCUMENT_ROOT. A local storage must be a
            folder inside of it.
    """

    url: str
    port: int
    folder: Path
    local_files_dir: Path
    email: str
    password: str = field(repr=False)
    legacy_token: str = field(repr=False)


@contextmanager
def running_label_studio(
    *,
    folder: Path,
    log_path: Path,
    port: int | None = None,
    public_url: str | None = None,
    allows_loopback: bool = True,
) -> Iterator[LabelStudio]:
    """Run Label Studio with strict prediction checks on a fresh data folder.

    Args:
        folder: see `new_label_studio`.
        log_path: where the server's output goes.
        port: None takes a free one.
        public_url: see `new_label_studio`.
        allows_loopback: whether it talks to backends on this machine; as it comes,
            it does not.
    """
    server = new_label_studio(folder=folder, port=port, public_url=public_url)
    with label_studio_process(
        server, log_path=log_path, allows_loopback=allows_loopback
    ):
        yield server


def new_label_studio(
    *, folder: Path, port: int | None = None, public_url: str | None = None
) -> LabelStudio:
    """Make the data of a Label Studio without projects; nothing runs yet.

    Args:
        folder: where the data folder is made; it must not exist yet. Its local
            files are in a folder of that name with "-files" behind.
        port: None takes a free one.
        public_url: its address where that is another server's, such as a reverse
            proxy's, which must run already; None for `port` of this machine.
    """
    shutil.copytree(_migrated_template(), folder)
    local_files_dir = folder.with_name(f"{folder.name}-files")
    local_files_dir.mkdir()
    port = port or free_port()
    return LabelStudio(
        url=public_url or f"http://{LOOPBACK}:{port}",
        port=port,
        folder=folder,
        local_files_dir=local_files_dir,
        email=_EMAIL,
        # Hexadecimal: a value that begins with a dash reads as an option.
        password=secrets.token_hex(12),
        legacy_token=secrets.token_hex(20),
    )


@contextmanager
def label_studio_process(
    server: LabelStudio,
    *,
    log_path: Path,
    allows_loopback: bool = True,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server on its data, for the first time or again.

    Args:
        server: its data and address.
        log_path: where the server's output goes.
        allows_loopback: see `running_label_studio`.
        environment: further settings.
    """
    command = [
        *(str(_PROGRAM), "start", "--no-browser"),
        *("--internal-host", LOOPBACK, "--port", str(server.port)),
        *("--username", server.email, "--password", server.password),
        *("--user-token", server.legacy_token, "--enable-legacy-api-token"),
    ]
    settings = {
        **_QUIET,
        **(_ALLOW_LOOPBACK if allows_loopback else {}),
        **_STRICT_PREDICTIONS,
        "LABEL_STUDIO_BASE_DATA_DIR": str(server.folder),
        "LABEL_STUDIO_HOST": server.url,
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(server.local_files_dir),
        **environment,
    }
    with running(
        command,
        environment=settings,
        log_path=log_path,
        is_ready=lambda: answers(f"{server.url}/health"),
        timeout_s=_START_TIMEOUT_S,
    ) as process:
        yield process


def _migrated_template() -> Path:
    """The data folder to copy: a migrated database without users or secrets."""
    if not _PROGRAM.exists():
        raise NotReady(
            f"There is no {_PROGRAM}. `make label-studio` installs Label Studio "
            f"{VERSION} there."
        )
    CACHE_DIR.mkdir(exist_ok=True)
    with _TEMPLATE.with_name(f"{_TEMPLATE.name}.lock").open("w") as lock:
        # Another process of the same tests may be at it: half a minute of two cores.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _TEMPLATE.exists():
            _migrate(_TEMPLATE)
    return _TEMPLATE


def _migrate(folder: Path) -> None:
    """Make a data folder, all of it or nothing."""
    with tempfile.TemporaryDirectory(dir=CACHE_DIR) as scratch:
        draft = Path(scratch) / "data"
        # Prints versions and ends; the migrations come first.
        subprocess.run(
            [_PROGRAM, "version"],
            env=child_environment({**_QUIET, "LABEL_STUDIO_BASE_DATA_DIR": str(draft)}),
            check=True,
            capture_output=True,
            timeout=_START_TIMEOUT_S,
        )
        # Holds the secret key; each copy makes its own.
        (draft / ".env").unlink()
        draft.rename(folder)
