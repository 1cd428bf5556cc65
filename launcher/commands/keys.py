"""`tritongate keys`: API keys for the adapter."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from adapter.security.keys import generate_key, hash_key
from launcher.terminal import errors_told, say, show

app = typer.Typer(no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Make API keys.

    To revoke a key, delete its line from the keys file; a running server notices."""


@app.command()
def new(
    file: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            envvar="TRITONGATE_API_KEYS_FILE",
            dir_okay=False,
            help="Keys file to append the key's hash to; made if it does not exist.",
        ),
    ] = Path("keys.txt"),
    name: Annotated[str, typer.Option(metavar="TEXT", help="Whom the key is for; noted in the keys file.")] = "",
) -> None:
    """Make a key, print it once, and append its hash to a keys file.

    Only the hash is stored: a key that is lost cannot be looked up again.
    """
    with errors_told():
        key = generate_key()
        append_line(file, " ".join([hash_key(key), *name.split()]))
        show(key)
        say(f"Its hash is in {file}. To serve with it: tritongate serve --api-keys-file {file}")


def append_line(path: Path, line: str) -> None:
    """Appends to a file that only its owner may read, and makes it such a file.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(fd, "r+b", buffering=0) as file:
        os.fchmod(fd, 0o600)
        size = os.fstat(fd).st_size
        unfinished = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        file.write(("\n" if unfinished else "").encode() + line.rstrip("\n").encode() + b"\n")
