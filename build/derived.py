"""Things made from fetched files, kept in the cache under a name that says what they were made from.

The name covers the inputs' digests and the code that makes them, so neither a changed file nor a changed builder ever
finds an old result.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
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
    scratch = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=folder.parent))
    try:
        make(scratch)
        scratch.chmod(0o755)
        try:
            os.rename(scratch, folder)
        except OSError:
            if not folder.is_dir():  # else another process has made the same meanwhile
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder
