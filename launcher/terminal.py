"""What the command line says, and how its errors look."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

import typer

from build.catalog import CatalogError
from launcher.errors import LauncherError

_PRINTING = threading.Lock()


def say(line: str) -> None:
    """Prints a line of progress on stderr, from any thread; a terminal that is gone is no reason to fail."""
    with _PRINTING, contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Prints a result on stdout."""
    with _PRINTING, contextlib.suppress(OSError, ValueError):
        print(text, flush=True)


def fail(message: str, code: int = 1) -> typer.Exit:
    """Prints the one message of a failed command; to be raised."""
    say(f"tritongate: {message}")
    return typer.Exit(code)


@contextlib.contextmanager
def errors_told() -> Iterator[None]:
    """Turns expected failures into one message and an exit code; a fault of ours keeps its traceback."""
    try:
        yield
    except LauncherError as error:
        raise fail(str(error), error.exit_code) from None
    except CatalogError as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from None
