"""A command is one file: it is found by its name."""

from pathlib import Path
from typing import Final

import pytest
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
    commands = {
        info.name
        for info in (
            *backend.cli.build_app().registered_commands,
            *backend.cli.build_app().registered_groups,
        )
    }

    assert commands == {
        *("cache", "doctor", "evaluate", "export", "feedback", "preannotate"),
        *("segment", "serve", "worker"),
    }
