"""Images of the compose file's services, built with buildah where none can be pulled.

Python's own image is stood in for by Debian's base system with its Python of the same
release, Label Studio's and Redis's by the two Dockerfiles beside this file. An image
of theirs that is here already is taken instead. pip and apt get from this machine
what they get on it: network, certificates, configuration.
"""

import configparser
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.e2e.label_studio import VERSION as LABEL_STUDIO_VERSION
from tests.e2e.processes import REPOSITORY

BACKEND: Final = "localhost/diffsegmenter:latest"
_PYTHON: Final = "docker.io/library/python:3.11-slim"
_LABEL_STUDIO: Final = f"docker.io/heartexlabs/label-studio:{LABEL_STUDIO_VERSION}"
_REDIS: Final = "docker.io/library/redis:7-alpine"
# The release whose Python is 3.11.
_DEBIAN: Final = "bookworm"
_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_HERE: Final = Path(__file__).parent


def build_images(torch_index: str) -> None:
    """Build the backend's image, and the others that are not here.

    Args:
        torch_index: where pip finds torch; "" for where it always does.
    """
    if not _is_here(_PYTHON):
        _bootstrap_python()
    with _pip_configuration() as volumes:
        _build(
            BACKEND,
            REPOSITORY / "docker" / "Dockerfile",
            REPOSITORY,
            *volumes,
            f"--build-arg=TORCH_INDEX={torch_index}",
        )
        if not _is_here(_LABEL_STUDIO):
            _build(
                _LABEL_STUDIO,
                _HERE / "label-studio.Dockerfile",
                _HERE,
                *volumes,
                f"--build-arg=LABEL_STUDIO_VERSION={LABEL_STUDIO_VERSION}",
            )
    if not _is_here(_REDIS):
        _build(_REDIS, _HERE / "redis.Dockerfile", _HERE)


def size_bytes(image: str) -> int:
    """What an image takes on disk, unpacked."""
    return int(
        subprocess.check_output(
            ["podman", "image", "inspect", "--format={{.Size}}", image]
        )
    )


def _is_here(image: str) -> bool:
    exists = subprocess.run(["podman", "image", "exists", image], check=False)
    return exists.returncode == 0


def _build(image: str, dockerfile: Path, context: Path, *options: str) -> None:
    """Build one image; steps that are known are not repeated.

    Docker's format, because the other one has no health checks.
    """
    subprocess.run(
        [
            *("buildah", "bud", "--isolation=chroot", "--network=host", "--layers"),
            *("--format=docker", "--quiet", f"--file={dockerfile}", f"--tag={image}"),
            *options,
            str(context),
        ],
        check=True,
    )


def _bootstrap_python() -> None:
    """Import Debian's smallest system with Python under the name of Python's image."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        packages = "python3,python3-venv,ca-certificates"
        subprocess.run(
            [
                *("debootstrap", "--variant=minbase", f"--include={packages}"),
                *(_DEBIAN, str(root)),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        # As in the image that it stands in for.
        for left in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(root / left)
            (root / left / "partial").mkdir(parents=True)
        for left in ("usr/share/doc", "usr/share/locale", "usr/share/man"):
            shutil.rmtree(root / left)
        (root / "usr/bin/python").symlink_to("python3")
        archive = Path(folder, "root.tar")
        subprocess.run(["tar", f"--directory={root}", "-cf", archive, "."], check=True)
        subprocess.run(
            ["podman", "import", "--quiet", archive, _PYTHON],
            check=True,
            stdout=subprocess.DEVNULL,
        )


@contextmanager
def _pip_configuration() -> Iterator[list[str]]:
    """Options that mount what this machine tells pip, and the folders that it names."""
    listed = subprocess.check_output(
        ["python3", "-m", "pip", "config", "list"], text=True
    )
    config = configparser.RawConfigParser()
    config["global"] = {}
    paths: list[str] = []
    for line in listed.splitlines():
        name, _, quoted = line.partition("=")
        # A folder with an index of its own may point anywhere: left out.
        words = [w for w in quoted.strip("'").split() if not w.startswith("file:")]
        if words:
            # What the environment and the files both set, the environment decides.
            key = name.rpartition(".")[2]
            config["global"].setdefault(key, " ".join(words))
            paths += [word for word in words if Path(word).is_absolute()]
    if _CERTIFICATES.exists():
        paths.append(str(_CERTIFICATES))
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        config.write(file)
        file.flush()
        yield [
            f"--volume={file.name}:/etc/pip.conf:ro",
            *(
                f"--volume={path}:{path}:ro"
                for path in dict.fromkeys(paths)
                if Path(path).exists()
            ),
        ]
