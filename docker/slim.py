"""Take from this environment what nothing in the image runs. Of the Dockerfile only.

pip installs tests of packages, torch's headers and tools (there is no compiler here),
symbols for debuggers, itself, and bytecode of thousands of models that are never
imported: together more than a third of the environment.
"""

import base64
import importlib
import io
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

_PACKAGES: Final = Path(sysconfig.get_path("purelib"))
# torch refuses to be imported without it.
_NEEDED_TOOL: Final = "torch_shm_manager"
_CONFIG: Final = """
<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">
<Label value="cat"/></BrushLabels></View>
"""


def main() -> None:
    """Remove, then compile what a first request and a worker import."""
    subprocess.run(
        [sys.executable, "-m", "pip", "uninstall", "--yes", "--quiet", "pip"],
        check=True,
    )
    torch = _PACKAGES / "torch"
    tools = [tool for tool in (torch / "bin").iterdir() if tool.name != _NEEDED_TOOL]
    for left in [torch / "include", torch / "test", *tools, *_PACKAGES.rglob("tests")]:
        if left.is_dir():
            shutil.rmtree(left)
        elif left.exists():
            left.unlink()
    # Of other packages' libraries, which hold few, some do not outlive it.
    libraries = (torch / "lib").glob("libtorch*.so")
    subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)
    # A fresh process, without the bytecode that this one wrote of itself.
    subprocess.run([sys.executable, __file__, "--warm"], check=True)


def warm() -> None:
    """Answer one request with the bundled model: Python compiles what it imports."""
    os.environ["MODEL"] = "pocket"
    # Installed by now; what this file does before needs none of it.
    for module in (
        "backend.batch",
        "backend.cli.serve",
        "backend.cli.worker",
        "backend.doctor",
    ):
        importlib.import_module(module)
    from PIL import Image

    from backend.server.wsgi import app_from_environment

    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    address = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
    answer = (
        app_from_environment()
        .test_client()
        .post(
            "/predict",
            json={
                "tasks": [{"id": 1, "data": {"image": address}}],
                "label_config": _CONFIG,
            },
        )
    )
    assert answer.status_code == 200, answer.text
    assert answer.json["results"][0]["result"] is not None


if __name__ == "__main__":
    if "--warm" in sys.argv:
        warm()
    else:
        main()
