"""A command is one file: it is found by its name."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

import backend.cli

HELLO: Final = '''
from typing import Annotated
import typer

def command(name: Annotated[str, typer.Argument(help="Whom.")]) -> None:
    """Greet somebody."""
    typer.echo(f"Hello {name}")
'''


def test_one_file_of_ten_lines_adds_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    folders = [*backend.cli.__path__, str(tmp_path)]
    monkeypatch.setattr(backend.cli, "__path__", folders)

    app = backend.cli.build_app()

    assert CliRunner().invoke(app, ["hello", "you"]).output == "Hello you\n"
    assert "Greet somebody." in CliRunner().invoke(app).output


def test_all_commands_are_offered_and_no_other_file_is() -> None:
    group = typer.main.get_command(backend.cli.build_app())
    assert isinstance(group, TyperGroup)

    names = group.list_commands(None)

    assert names == [
        *("cache", "doctor", "evaluate", "export", "feedback", "preannotate"),
        *("segment", "serve", "worker"),
    ]
    assert all(group.get_command(None, name) is not None for name in names)


def test_a_misspelt_command_is_told_which_may_be_meant() -> None:
    result = CliRunner().invoke(backend.cli.build_app(), ["serv"])

    assert result.exit_code == 2
    assert "Did you mean 'serve'?" in result.output


# What each command does without; the rest of the list is what the first word brings.
SLOW: Final = {"cv2", "label_studio_sdk", "numpy", "redis", "rq", "torch", "flask"}


@pytest.mark.parametrize(
    ("arguments", "needs"),
    [
        pytest.param(["--version"], set(), id="version"),
        pytest.param(["cache", "stats"], set(), id="cache"),
        pytest.param(["serve"], SLOW - {"torch"}, id="serve"),
        pytest.param(["preannotate", "-p", "1"], SLOW - {"torch", "flask"}, id="batch"),
    ],
)
def test_a_command_imports_what_it_needs_and_nothing_else_that_is_slow(
    arguments: list[str], needs: set[str], tmp_path: Path
) -> None:
    # A model that is not there stops `serve`, a Label Studio that is not `preannotate`.
    settings = {"CACHE_DIR": str(tmp_path), "MODEL": "./nowhere", "REDIS_URL": ""}
    program = (
        "import sys\n"
        "from backend.cli import main\n"
        "try:\n"
        f"    sys.argv[1:] = {arguments}\n"
        "    main()\n"
        "finally:\n"
        f"    print(*sorted({SLOW} & sys.modules.keys()), file=sys.stderr)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert set(done.stderr.splitlines()[-1].split()) == needs, done.stderr
