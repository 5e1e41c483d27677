"""All commands of `diffsegmenter`, found by their files.

A command is one file in this folder with a `command`: a function, whose parameters
typer reads, or a `typer.Typer` of several. It is called as the file is, which is
imported when its command is called or described: most of them import a lot.
"""

import importlib
import pkgutil
import platform
from importlib import metadata
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

import backend.cli

# What is beside the commands.
_NO_COMMANDS: Final = frozenset({"app", "refusals"})

# What decides how masks and Label Studio's formats come out.
_VERSIONED: Final = ("torch", "diffusers", "transformers", "label-studio-sdk")


class _Commands(TyperGroup):
    """Every command that this folder holds."""

    def list_commands(self, ctx: Any) -> list[str]:
        """See click."""
        return sorted(
            found.name
            for found in pkgutil.iter_modules(backend.cli.__path__)
            if not found.name.startswith("_") and found.name not in _NO_COMMANDS
        )

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """See click."""
        if cmd_name not in self.commands and cmd_name in self.list_commands(ctx):
            found = importlib.import_module(f"backend.cli.{cmd_name}").command
            if not isinstance(found, typer.Typer):
                alone = typer.Typer(add_completion=False)
                alone.command(name=cmd_name)(found)
                found = alone
            self.add_command(typer.main.get_command(found), cmd_name)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """See click; a misspelt name is compared with all."""
        names = self.list_commands(ctx)
        if args[0] not in names:
            for name in names:
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)


def build_app() -> typer.Typer:
    """The command line with every command that this folder holds."""
    return typer.Typer(
        cls=_Commands,
        callback=_read_common_options,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )


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
