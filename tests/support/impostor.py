"""A harmless process with the command line of one of Triton's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.serve_process import wait_until


@contextmanager
def impostor(name: str, prefix: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs within the block as `/opt/NAME ... PREFIX`."""
    process = subprocess.Popen([f"/opt/{name}", "-c", "import time; time.sleep(60)", prefix], executable=sys.executable)
    try:
        # The system starts a program a moment before it shows its command line.
        cmdline = Path(f"/proc/{process.pid}/cmdline")
        wait_until(lambda: prefix.encode() in cmdline.read_bytes(), 10.0, "not started")
        yield process
    finally:
        process.kill()
        process.wait()
