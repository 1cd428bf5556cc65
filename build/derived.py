"""Things made from fetched files, kept in the cache under a name that says what they were made from.

The name covers the inputs' digests and the code that makes them, so neither a changed file nor a changed builder ever
finds an old result.

    derived/KIND-DIGEST     complete; put there by one rename
    derived/.KIND-DIGEST-*  being made; locked by the process that makes it, and removed when that died
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


def derived(
    cache: Path, kind: str, inputs: Sequence[str], builders: Sequence[Path], make: Callable[[Path], None]
) -> Path:
    """The folder `derived/KIND-DIGEST` of the cache; made by `make(folder)` if it is not there.

    Args:
        inputs: what the result depends on, such as sha256s of files.
        builders: source files of the code that makes it.
        make: fills an empty folder; what it raises is passed on, and nothing is kept.
    """
    digest = hashlib.sha256()
    for part in [*inputs, *(hashlib.sha256(path.read_bytes()).hexdigest() for path in builders)]:
        digest.update(part.encode() + b"\0")
    folder = cache / "derived" / f"{kind}-{digest.hexdigest()[:32]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _scratch(folder) as scratch:
        make(scratch)
        scratch.chmod(0o755)
        try:
            os.rename(scratch, folder)
        except OSError:
            if not folder.is_dir():  # else another process has made the same meanwhile
                raise
    return folder


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, locked while it is used, so that what a killed process left can be told."""
    prefix = f".{folder.name}-"
    with (folder.parent / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # none is made and not yet locked meanwhile
        for rest in folder.parent.glob(f"{prefix}*"):
            if (held := _hold(rest)) is not None:
                shutil.rmtree(rest, ignore_errors=True)
                os.close(held)
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
        mine = _hold(scratch)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if mine is not None:
            os.close(mine)


def _hold(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None: another process does, or it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
