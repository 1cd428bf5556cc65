"""What a build has made and from what: `manifest.json` in the build's folder.

    {"format": 1, "finished": true, "model": {"id": ..., ...},
     "stages": {NAME: {"key": ..., "inputs": {...}, "versions": {...}, "commands": [[...], ...],
                       "started": "2026-11-24T20:00:00+00:00", "seconds": 12.3,
                       "files": {NAME: {"size": ..., "mtime_ns": ..., "sha256": ...}}}}}

It is replaced by a rename before and after a stage takes its place, so it never speaks of what is not there. While a
model is built anew, stages of the new and the old build lie beside each other: `finished` is false until its end.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from build.transfer import sha256_of

MANIFEST = "manifest.json"
FORMAT = 1


class ManifestError(Exception):
    """The manifest cannot be read; the message says why and what to do."""


@dataclass(frozen=True)
class FileRecord:
    """A file when it was made: bytes, time of its last change, digest of its content."""

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class StageRecord:
    """A stage that came to its end.

    Args:
        key: digest of everything that the result depends on. inputs: the same, one by one, for a reader.
        versions: of the tools. started: ISO 8601, UTC. files: what it made, by path in its folder.
    """

    key: str
    inputs: Mapping[str, str]
    versions: Mapping[str, str]
    commands: tuple[tuple[str, ...], ...]
    started: str
    seconds: float
    files: Mapping[str, FileRecord]

    def digest(self, patterns: Collection[str]) -> str:
        """Of the files whose names match one of the shell patterns."""
        digest = hashlib.sha256()
        for name in sorted(self.files):
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                digest.update(name.encode() + b"\0" + bytes.fromhex(self.files[name].sha256))
        return digest.hexdigest()


@dataclass(frozen=True)
class Manifest:
    """All stages of one build that came to their end, by name; `finished`: they are of one build, and all it has."""

    model: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, StageRecord] = field(default_factory=dict)
    finished: bool = False

    def with_stage(self, name: str, record: StageRecord) -> Manifest:
        return replace(self, stages={**self.stages, name: record})

    def write(self, folder: Path) -> None:
        """Puts it in the place of the one in `folder`; on the disk when this returns."""
        content = {
            "format": FORMAT,
            "finished": self.finished,
            "model": dict(self.model),
            "stages": {name: asdict(record) for name, record in self.stages.items()},
        }
        partial = folder / f"{MANIFEST}.new"
        with partial.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / MANIFEST)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a build's folder; an empty one if there is none.

    Raises:
        ManifestError: not readable, or of another format.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ManifestError(f"{path}: format {content['format']}, {FORMAT} is known: remove {folder} to build anew")
        stages = {name: _record(stage) for name, stage in content["stages"].items()}
        # Builds from before there was this key count as what they were taken for.
        return Manifest(content["model"], stages, content.get("finished", True))
    except FileNotFoundError:
        return Manifest()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"{path}: {error!r}: remove {folder} to build anew") from error


def _record(content: dict[str, Any]) -> StageRecord:
    files = {name: FileRecord(**facts) for name, facts in content["files"].items()}
    commands = tuple(tuple(command) for command in content["commands"])
    return StageRecord(**{**content, "files": files, "commands": commands})


def record_files(folder: Path, known: Mapping[str, FileRecord] | None = None) -> dict[str, FileRecord]:
    """The files of a folder as they are; contents are read only where size or time differ from what is known."""
    records = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, facts = str(path.relative_to(folder)), path.stat()
        before = (known or {}).get(name)
        if before and (before.size, before.mtime_ns) == (facts.st_size, facts.st_mtime_ns):
            records[name] = before
        else:
            records[name] = FileRecord(facts.st_size, facts.st_mtime_ns, sha256_of(path))
    return records


def same_contents(folder: Path, record: StageRecord) -> bool:
    """Whether the folder still holds exactly what the stage made."""
    if not folder.is_dir():
        return False
    found = record_files(folder, record.files)
    return {name: file.sha256 for name, file in found.items()} == {
        name: file.sha256 for name, file in record.files.items()
    }
