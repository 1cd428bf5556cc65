"""The state folder (`.run`): one `tritongate serve` at a time, and what it leaves to the next one."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType

from launcher.errors import LauncherError
from launcher.processes import PREFIX, destroy

RECORD = "triton.json"


class StateBusy(LauncherError):
    """Another `tritongate serve` uses the state folder."""


class StateLock:
    """Holds the state folder; released by the system however the process ends.

    Raises (on entry):
        StateBusy: another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fd = -1

    def __enter__(self) -> StateLock:
        self.folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(fd, 32).decode(errors="replace").strip() or "?"
            os.close(fd)
            raise StateBusy(
                f"another `tritongate serve` (process {holder}) uses {self.folder}: "
                "stop it, or give this one its own --state-dir"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)


def remember(folder: Path, prefix: str, ports: dict[str, int], pid: int) -> None:
    """Writes down which Triton runs, before it can leave anything behind."""
    partial = folder / f"{RECORD}.new"
    partial.write_text(json.dumps({"shm_prefix": prefix, "pid": pid, "ports": ports}) + "\n")
    partial.replace(folder / RECORD)


def forget(folder: Path) -> None:
    """After a stop that left nothing behind."""
    (folder / RECORD).unlink(missing_ok=True)


def clear_leftovers(folder: Path) -> tuple[int, int]:
    """Ends what a crashed run left: processes and shared memory that carry its own prefix, and nothing else.

    Returns: how many processes and how many segments there were.
    """
    try:
        prefix = json.loads((folder / RECORD).read_text())["shm_prefix"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0
    if not isinstance(prefix, str) or not PREFIX.fullmatch(prefix):
        return 0, 0
    found = destroy(prefix)
    forget(folder)
    return found
