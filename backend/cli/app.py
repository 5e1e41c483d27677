"""All commands of `diffsegmenter`, found by their files.

A command is one file in this folder with a `command`: a function, whose parameters
typer reads, or a `typer.Typer` of several. It is called as the file is.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import typer

import backend.cli


def build_app() -> typer.Typer:
    """The command line with every command that this folder holds."""
    app = typer.Typer(
        help="Open-vocabulary masks for Label Studio.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name, command in _commands():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name=name)(command)
    return app


def _commands() -> Iterator[tuple[str, Any]]:
    for found in pkgutil.iter_modules(backend.cli.__path__):
        if found.name.startswith("_") or found.name == "app":
            continue
        module = importlib.import_module(f"backend.cli.{found.name}")
        if hasattr(module, "command"):
            yield found.name, module.command


def main() -> None:
    """Entry point of the console script."""
    build_app()()
