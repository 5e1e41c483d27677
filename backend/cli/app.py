"""All commands of `diffsegmenter`, found by their files.

A command is one file in this folder with a `command`: a function, whose parameters
typer reads, or a `typer.Typer` of several. It is called as the file is.
"""

import importlib
import pkgutil
import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Annotated, Any, Final

import typer

import backend.cli

# What decides how masks and Label Studio's formats come out.
_VERSIONED: Final = ("torch", "diffusers", "transformers", "label-studio-sdk")


def build_app() -> typer.Typer:
    """The command line with every command that this folder holds."""
    app = typer.Typer(
        callback=_read_common_options,
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


def _print_versions(is_asked: bool) -> None:
    """Answer `--version`; nothing is imported for it."""
    if not is_asked:
        return
    typer.echo(f"diffsegmenter {_version('diffsegmenter-label-studio')}")
    typer.echo(f"python {platform.python_version()}")
    for name in _VERSIONED:
        typer.echo(f"{name} {_version(name)}")
    raise typer.Exit


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _read_common_options(
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_versions,
            is_eager=True,
            help="Print versions, for reports, and exit.",
        ),
    ] = False,
) -> None:
    """Open-vocabulary masks for Label Studio."""


def main() -> None:
    """Entry point of the console script."""
    build_app()()
