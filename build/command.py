"""What the commands that build engines have in common: what they say, and how they end."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import typer

from build.catalog import CatalogError
from build.manifest import Manifest, read_manifest
from build.stages import Stage, stage_commands
from build.tool_runner import ToolRunner


def say(line: str) -> None:
    """To a person: standard output is for results."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def resumable(errors: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Ends the command with exit code 1 on one of `errors`, with 130 when it is stopped, by SIGTERM too."""
    signal.signal(signal.SIGTERM, _ended)
    try:
        yield
    except errors as error:
        say(f"error: {error}")
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        say("stopped; the next call goes on from here")
        raise typer.Exit(130) from None


def print_stages(stages: Sequence[Stage], folder: Path, runner: ToolRunner) -> None:
    """The commands of each, as they would be run."""
    for number, stage in enumerate(stages, 1):
        print(f"[{number}/{len(stages)}] {stage.name}")
        for command in stage_commands(stage, folder / f"{stage.name}.partial"):
            print(f"  $ {shlex.join(runner.line(command))}")


def _ended(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def manifest_before(folder: Path, model_id: str) -> Manifest:
    """What an earlier build of this model has left in the folder; empty if there was none.

    Raises:
        CatalogError: the folder is another model's.
        ManifestError: it cannot be read.
    """
    before = read_manifest(folder)
    if before.model.get("id", model_id) != model_id:
        raise CatalogError(f"{folder} holds {before.model['id']}: give one of the two another `name` in the catalog")
    return before
