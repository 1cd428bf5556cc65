"""What every way of getting a file has in common: failing, reporting, checking."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

CHUNK = 1 << 20
SPARE = 64 << 20  # bytes that a download leaves free on the disk

Report = Callable[[int], None]  # called with the bytes that are there so far
Notify = Callable[[str], None]  # called with a line of text for a person


class SourceFailed(Exception):
    """A source does not give the file; the next one is tried. The message says why."""


class FetchError(Exception):
    """No source gives the file, or it cannot be stored. The message says what was tried."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_file(path: Path, size: int, sha256: str) -> None:
    """Raises SourceFailed unless `path` is the file of this size and digest."""
    found = path.stat().st_size
    if found != size:
        raise SourceFailed(f"{found:,} bytes came, {size:,} are right")
    digest = sha256_of(path)
    if digest != sha256:
        raise SourceFailed(f"its sha256 is {digest}, {sha256} is right")


def check_space(folder: Path, needed: int) -> None:
    """Raises FetchError unless `folder`'s disk takes `needed` more bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise FetchError(
            f"{needed / 1e6:,.0f} MB are needed in {folder}, {free / 1e6:,.0f} MB are free: "
            "make room, or set TRITONGATE_CACHE to a folder on another disk"
        )
