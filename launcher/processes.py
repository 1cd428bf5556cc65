"""The processes of one Triton, found by the shared memory prefix that only its own command lines carry."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.guard import clear_shm

STUB = "triton_python_backend_stub"
SERVER = "tritonserver"
GUARD = "guard.py"
PREFIX = re.compile(r"tritongate-\d+-[0-9a-f]{12}")


@dataclass(frozen=True)
class Process:
    """A live process (no zombie) and its command line."""

    pid: int
    arguments: tuple[str, ...]

    @property
    def is_stub(self) -> bool:
        return os.path.basename(self.arguments[0]) == STUB

    @property
    def model(self) -> str | None:
        """The model that a stub runs; its first argument is `<repository>/<model>/<version>/model.py`."""
        if not self.is_stub or len(self.arguments) < 2:
            return None
        return Path(self.arguments[1]).parent.parent.name


def processes_of(prefix: str) -> Iterator[Process]:
    """Guard, server and stubs whose shared memory prefix is `prefix`.

    A process id may be taken again by a stranger; the prefix is random and names its owner beyond doubt.
    """
    if not PREFIX.fullmatch(prefix):
        raise ValueError(f"not a prefix of ours: {prefix!r}")
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if not entry.isdigit():
            continue
        try:
            raw = Path("/proc", entry, "cmdline").read_bytes()
        except OSError:
            continue
        if prefix.encode() not in raw:
            continue
        arguments = tuple(part.decode(errors="replace") for part in raw.split(b"\0"))
        names = {os.path.basename(argument) for argument in arguments[:5]}
        if names & {STUB, SERVER, GUARD}:
            yield Process(int(entry), arguments)


def destroy(prefix: str, timeout: float = 5.0) -> tuple[int, int]:
    """Kills what is left of one Triton and removes its shared memory.

    Returns: how many processes and how many segments there were.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + timeout
    while True:
        alive = [process.pid for process in processes_of(prefix)]
        if not alive or time.monotonic() > deadline:
            break
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            except (ProcessLookupError, PermissionError):
                pass
        time.sleep(0.02)
    return len(killed), clear_shm(prefix)
