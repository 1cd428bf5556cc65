"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Host = Annotated[str, typer.Option(metavar="ADDRESS", envvar="TRITONGATE_HOST", help="Address to listen on.")]
Port = Annotated[
    int,
    typer.Option(
        metavar="NUMBER", envvar="TRITONGATE_PORT", min=0, max=65535, help="Port to listen on; 0 picks a free one."
    ),
]
RemoteTriton = Annotated[
    str | None,
    typer.Option(
        "--triton",
        metavar="URL",
        envvar="TRITONGATE_TRITON_URL",
        help="A Triton that runs elsewhere: grpc://host:port, or grpcs:// for TLS; several with commas between them.",
    ),
]
StateDir = Annotated[
    Path,
    typer.Option(metavar="DIR", file_okay=False, help="For what a run needs: logs, the assembled models, a lock."),
]
STATE_DIR = Path(".run")
