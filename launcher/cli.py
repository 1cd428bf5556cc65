"""The `tritongate` command line."""

from __future__ import annotations

from typing import Annotated

import typer

from adapter.app import VERSION
from launcher.commands import doctor, keys, models, serve

app = typer.Typer(
    name="tritongate",
    help="The OpenAI API in front of NVIDIA Triton Inference Server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (serve, models, doctor):
    app.add_typer(command.app)
app.add_typer(keys.app, name="keys")


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tritongate {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The OpenAI API in front of NVIDIA Triton Inference Server."""


def main() -> None:
    """Entry point: runs the command that the arguments name, and exits with its code."""
    app()


if __name__ == "__main__":
    main()
