"""Brings a checkpoint into a folder: from a hub, each file held against the hub's digest, or linked from a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from build.catalog import HubSource, ModelFile
from build.fetch import cached, fetch_files
from build.gpu_options import Checkpoint
from build.hf_checkpoint import CheckpointError, check_config, check_files, check_quantization, is_wanted
from build.hub import Hub, HubFile
from build.manifest import StageRecord
from build.transfer import FetchError, Notify, SourceFailed


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint whose files are known: of a hub's commit, or (`commit` empty) of a folder."""

    checkpoint: Checkpoint
    commit: str
    files: tuple[HubFile, ...]

    def facts(self) -> dict[str, str]:
        """What identifies it, by name."""
        place = {"checkpoint": f"{self.checkpoint.hub}@{self.commit}" if self.commit else str(self.checkpoint.path)}
        return {**place, **{f"file {file.path}": file.sha256 or file.git_sha1 for file in self.files}}

    def missing_bytes(self, cache: Path) -> int:
        """What is still to be fetched of it."""
        if not self.commit:
            return 0
        return sum(file.size for file in self.files if not (file.sha256 and cached(_model_file(self, file), cache)))


def find_checkpoint(checkpoint: Checkpoint, hub: Hub) -> FoundCheckpoint:
    """Which files it has.

    Raises:
        FetchError: the hub does not say. CheckpointError: the folder is not there.
    """
    if checkpoint.path is not None:
        if not checkpoint.path.is_dir():
            raise CheckpointError(f"checkpoint: there is no folder {checkpoint.path}")
        found = [path for path in sorted(checkpoint.path.iterdir()) if path.is_file() and is_wanted(path.name)]
        # Time and size stand for the content here; what depends on it is decided by digests.
        return FoundCheckpoint(
            checkpoint, "", tuple(HubFile(path.name, path.stat().st_size, git_sha1=_stamp(path)) for path in found)
        )
    try:
        commit, files = hub.listing(checkpoint.hub, checkpoint.revision)
    except SourceFailed as reason:
        raise FetchError(f"hub {checkpoint}: {reason}") from reason
    return FoundCheckpoint(checkpoint, commit, tuple(file for file in files if is_wanted(file.path)))


def known_checkpoint(checkpoint: Checkpoint, record: StageRecord | None) -> FoundCheckpoint | None:
    """The checkpoint as an earlier build found it in the same repository, for when the hub cannot be asked."""
    inputs = record.inputs if record else {}
    hub, _, commit = inputs.get("checkpoint", "").rpartition("@")
    if record is None or not hub or hub != checkpoint.hub:
        return None
    files = tuple(
        HubFile(name, file.size, git_sha1=inputs[f"file {name}"])
        for name, file in record.files.items()
        if f"file {name}" in inputs
    )
    return FoundCheckpoint(checkpoint, commit, files)


def bring_checkpoint(found: FoundCheckpoint, folder: Path, cache: Path, hub: Hub, notify: Notify) -> None:
    """Fills `folder`, going on from what is there and in the cache; small files first: a wrong model is seen early.

    Raises:
        FetchError, CheckpointError.
    """
    small = [file for file in found.files if not file.sha256]
    for file in small:
        _bring_small(found, file, folder, hub)
    check_config(folder, found.checkpoint)
    check_quantization(folder, found.checkpoint)
    large = [_model_file(found, file) for file in found.files if file.sha256]
    _link_all(fetch_files(large, cache, notify=notify, hub=hub), folder)
    check_files(folder)


def _bring_small(found: FoundCheckpoint, file: HubFile, folder: Path, hub: Hub) -> None:
    target = folder / file.path
    if found.checkpoint.path is not None:
        _link_all({file.path: found.checkpoint.path / file.path}, folder, symbolic=True)
        return
    if target.is_file():
        return
    partial = folder / f"{file.path}.part"
    try:
        hub.download(HubSource(found.checkpoint.hub, found.commit, file.path), partial, file.size, lambda done: None)
        content = partial.read_bytes() if partial.is_file() else b""  # an empty file is not asked for
        # Git's name of a blob: SHA-1 over a header and the content. A check against accidents, as everywhere in git.
        sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        if sha1 != file.git_sha1:
            partial.unlink(missing_ok=True)
            raise SourceFailed(f"git calls what came {sha1}, {file.git_sha1} is right")
    except SourceFailed as reason:
        raise FetchError(f"{file.path} of hub {found.checkpoint}: {reason}") from reason
    partial.write_bytes(content)
    partial.rename(target)


def _link_all(paths: Mapping[str, Path], folder: Path, *, symbolic: bool = False) -> None:
    """A person's own files are linked by name: a change of them has to be seen."""
    for name, source in paths.items():
        target = folder / name
        target.unlink(missing_ok=True)
        if symbolic or not _hard_linked(source, target):
            target.symlink_to(source.resolve())


def _hard_linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:  # another disk
        return False
    return True


def _model_file(found: FoundCheckpoint, file: HubFile) -> ModelFile:
    source = HubSource(found.checkpoint.hub, found.commit, file.path)
    return ModelFile(file.path, "weights", file.size, file.sha256, (source,))


def _stamp(path: Path) -> str:
    return f"{path.stat().st_size} bytes, changed {path.stat().st_mtime_ns}"
