"""Writes model folders into a Triton repository that a running Triton may be reading.

A folder is made complete beside the repository and then put into place by a rename, or exchanged for the one that is
there, and only if it differs from that; what consists of other models comes after them. `.tritongate.json` in the
repository lists the folders that were made here: only those are ever replaced or removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from build.transfer import SPARE

MANIFEST = ".tritongate.json"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


class RepositoryError(Exception):
    """The repository cannot be written; the message says why. What was there is still there."""


@dataclass(frozen=True)
class Built:
    """A file that the next build will replace under the same path. The repository keeps it until it is assembled anew:
    configuration and engine belong together, and a build may fail half-way. So it is linked hard, where disks allow.
    """

    path: Path


Content = bytes | Path | Built


@dataclass(frozen=True)
class ModelFolder:
    """One Triton model.

    Args:
        files: path inside the folder -> content, or the file that is linked (or copied) there. The version folder `1`
            exists in any case.
    """

    name: str
    files: Mapping[str, Content] = field(default_factory=dict)


def publish(output: Path, folders: Iterable[ModelFolder], *, copy: bool = False, keep: bool = False) -> list[str]:
    """Makes `output` hold these folders, and none that was made here earlier.

    Args:
        folders: an ensemble before the models that it consists of; they are put into place from the last to the first.
        output: the repository; made if it is not there. Not a mount point itself: folders are made beside it.
        copy: linked files become copies, for a repository that is carried elsewhere.
        keep: folders that were made here earlier stay.
    Returns: what was done, a line for each folder that changed.
    Raises:
        RepositoryError: two folders of one name, a folder of that name that was not made here, no room for copies.
    """
    wanted: dict[str, ModelFolder] = {}
    for folder in folders:
        if folder.name in wanted:
            raise RepositoryError(f"two models are named {folder.name}: give one of them another `name` in the catalog")
        wanted[folder.name] = folder
    output = output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    with _locked(output):
        made = _read_manifest(output)
        for name in wanted:
            if name not in made and (output / name).exists():
                raise RepositoryError(f"{output / name} is there and was not made by build/assemble.py: move it away")
        return _replace(output, wanted, made, copy, made if keep else set())


@contextlib.contextmanager
def _locked(output: Path) -> Iterator[None]:
    with (output.parent / f".{output.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(output: Path, wanted: Mapping[str, ModelFolder], made: set[str], copy: bool, kept: set[str]) -> list[str]:
    changed = [name for name, folder in wanted.items() if not _matches(output / name, folder, copy)]
    stale = sorted(name for name in made - wanted.keys() - kept if (output / name).exists())
    remaining = wanted.keys() | kept
    scratch = output.parent / f".{output.name}.new"
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was broken off
    if not changed and not stale:
        if made != remaining:
            _write_manifest(output, remaining)
        return []
    if copy:
        _check_room(output.parent, [wanted[name] for name in changed])
    try:
        for name in changed:
            _write(scratch / "new" / name, wanted[name], copy)
        (scratch / "old").mkdir(parents=True, exist_ok=True)
        # Before the first rename: after a crash, what lies in the repository is still known as made here.
        _write_manifest(output, made | wanted.keys())
        for name in reversed(changed):
            _put(scratch / "new" / name, output / name, scratch / "old" / name)
        for name in stale:
            _move(output / name, scratch / "old" / name)
        _write_manifest(output, remaining)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return [*(f"{name}: written" for name in changed), *(f"{name}: removed" for name in stale)]


def _check_room(where: Path, folders: Iterable[ModelFolder]) -> None:
    """Raises RepositoryError unless the disk takes the copies; what they replace goes only after them."""
    contents = [content for folder in folders for content in folder.files.values() if not isinstance(content, bytes)]
    needed, free = sum(_source(content).stat().st_size for content in contents), shutil.disk_usage(where).free
    if free < needed + SPARE:
        raise RepositoryError(
            f"{needed / 1e9:,.1f} GB are needed for the copies in {where}, {free / 1e9:,.1f} GB are free: make room, "
            "or leave out --copy, which links instead"
        )


def _write(folder: Path, model: ModelFolder, copy: bool) -> None:
    (folder / "1").mkdir(parents=True)
    for relative, content in model.files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif copy:
            shutil.copyfile(_source(content), path)
        elif not (isinstance(content, Built) and _linked_hard(content.path, path)):
            path.symlink_to(_source(content).absolute())


def _matches(folder: Path, model: ModelFolder, copy: bool) -> bool:
    """Whether the folder is what would be written. Python's own caches do not count."""
    if not (folder / "1").is_dir():
        return False
    present = {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and "__pycache__" not in path.parts
    }
    return present == set(model.files) and all(
        _same(folder / relative, content, copy) for relative, content in model.files.items()
    )


def _same(path: Path, content: Content, copy: bool) -> bool:
    if isinstance(content, bytes):
        return not path.is_symlink() and path.read_bytes() == content
    source = _source(content)
    if not copy and isinstance(content, Built) and not path.is_symlink():
        return path.samefile(source)
    if not copy:
        return path.is_symlink() and path.readlink() == source.absolute() and path.exists()
    if path.is_symlink():
        return False
    # Copies keep no trace of where they came from; a new version of weights has another time or another size.
    return path.stat().st_size == source.stat().st_size and path.stat().st_mtime >= source.stat().st_mtime


def _source(content: Path | Built) -> Path:
    return content.path if isinstance(content, Built) else content


def _linked_hard(source: Path, target: Path) -> bool:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or not one's own file
        return False
    return True


def _put(new: Path, target: Path, old: Path) -> None:
    """Puts a folder into its place. What was there goes, in the same step where the system has one for that."""
    if target.exists() and not _exchange(new, target):
        _move(target, old)
    if new.exists() and not target.exists():
        _move(new, target)


def _exchange(first: Path, second: Path) -> bool:
    """Whether the two have taken each other's places: Linux can, on most file systems."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    where = (AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second))
    return rename is not None and rename(*where, RENAME_EXCHANGE) == 0


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise RepositoryError(
                f"{source.parent} and {target.parent} are on different disks: choose a folder inside the mount"
            ) from error
        raise


def _read_manifest(output: Path) -> set[str]:
    try:
        names = json.loads((output / MANIFEST).read_text())["models"]
        return {name for name in names if isinstance(name, str) and name and "/" not in name and name != ".."}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RepositoryError(f"{output / MANIFEST} cannot be read: {error}") from error


def _write_manifest(output: Path, names: Iterable[str]) -> None:
    partial = output / f"{MANIFEST}.new"
    partial.write_text(json.dumps({"models": sorted(names)}, indent=1) + "\n")
    partial.replace(output / MANIFEST)
