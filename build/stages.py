"""Runs the stages of a build one after the other; what is there already, made from the same, is not made again.

    BUILD/lock            held by the process that builds; others wait for it
    BUILD/manifest.json   see build/manifest.py
    BUILD/NAME/           what stage NAME made; put there by one rename
    BUILD/NAME.partial/   what a stage is making
    BUILD/logs/NAME.log   what its tools said

A stage depends on named files of earlier stages, on its commands, and on facts such as a tool's version. If all of
these are as they were, it is passed over, also when an earlier stage ran again and made the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from build.manifest import Manifest, StageRecord, read_manifest, record_files, same_contents
from build.tool_runner import ToolRunner
from build.transfer import Notify

OUTPUT = "{output}"  # in a command: the folder that it is to fill
LOCK_POLL = 0.2  # seconds


@dataclass(frozen=True)
class Stage:
    """One step of a build.

    Args:
        needs: earlier stage -> shell patterns of its files that the result depends on.
        facts: what else it depends on, by name.
        commands: run in this order; OUTPUT in an argument is the folder to fill.
        fill: done before the commands, with that folder.
        verify: raises if what is in that folder is not what was meant.
        versions: of the tools; part of what the result depends on.
        resumes: whether `fill` can go on from what a broken run left in the folder.
    """

    name: str
    needs: Mapping[str, Collection[str]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[tuple[str, ...], ...] = ()
    fill: Callable[[Path], None] = lambda folder: None
    verify: Callable[[Path], None] = lambda folder: None
    versions: Mapping[str, str] = field(default_factory=dict)
    resumes: bool = False


@contextlib.contextmanager
def build_lock(folder: Path, notify: Notify) -> Iterator[None]:
    """Holds the lock of a build's folder, which is made if it is not there; waits for another process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+", encoding="utf-8") as lock:
        waiting = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if not waiting:
                    lock.seek(0)
                    notify(f"process {lock.read().strip() or '?'} is building in {folder}: waiting for it")
                    waiting = True
                time.sleep(LOCK_POLL)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def run_stages(
    folder: Path, stages: Sequence[Stage], runner: ToolRunner, notify: Notify, model: Mapping[str, object]
) -> Manifest:
    """Makes what is not there. The caller holds the lock.

    Args:
        model: facts about the whole build, for the manifest.
    Returns: the manifest, complete.
    Raises:
        ToolError, or what a stage's `fill` and `verify` raise; the stages before it are kept.
    """
    manifest = Manifest(model, read_manifest(folder).stages)
    (folder / "logs").mkdir(exist_ok=True)
    runner.clear()
    for number, stage in enumerate(stages, 1):
        head = f"[{number}/{len(stages)}] {stage.name}"
        inputs = _inputs(folder, stage, manifest)
        key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
        before = manifest.stages.get(stage.name)
        if before and before.key == key and same_contents(folder / stage.name, before):
            notify(f"{head}: is there")
            continue
        notify(f"{head}: begins")
        record = _run(folder, stage, runner, notify, inputs, key, manifest)
        manifest = manifest.with_stage(stage.name, record)
        manifest.write(folder)
        size = sum(file.size for file in record.files.values())
        notify(f"{head}: {record.seconds:,.0f} s, {len(record.files)} files, {size / 1e9:,.2f} GB")
    kept = {stage.name: manifest.stages[stage.name] for stage in stages}
    manifest = Manifest(model, kept, finished=True)
    manifest.write(folder)
    return manifest


def _run(
    folder: Path,
    stage: Stage,
    runner: ToolRunner,
    notify: Notify,
    inputs: Mapping[str, str],
    key: str,
    unfinished: Manifest,
) -> StageRecord:
    partial, final = folder / f"{stage.name}.partial", folder / stage.name
    mark = folder / f"{stage.name}.partial.key"
    if not (stage.resumes and mark.is_file() and mark.read_text() == key):
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(exist_ok=True)
    mark.write_text(key)
    log = folder / "logs" / f"{stage.name}.log"
    log.write_text("")
    started, clock = datetime.now(timezone.utc), time.monotonic()
    stage.fill(partial)
    commands = stage_commands(stage, partial)
    for command in commands:
        notify(f"  $ {shlex.join(command)}")
        runner.run(command, folder, log, notify)
    stage.verify(partial)
    files = record_files(partial)
    if final.exists():  # from here to the last stage, what lies here is no whole build
        unfinished.write(folder)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    mark.unlink()
    return StageRecord(
        key=key,
        inputs=inputs,
        versions=dict(stage.versions),
        commands=tuple(tuple(command) for command in commands),
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 3),
        files=files,
    )


def stage_commands(stage: Stage, output: Path) -> list[list[str]]:
    """The commands of a stage that is to fill `output`."""
    return [[argument.replace(OUTPUT, str(output)) for argument in command] for command in stage.commands]


def _inputs(folder: Path, stage: Stage, manifest: Manifest) -> dict[str, str]:
    """All that the result depends on. Paths inside the build's folder count as relative: it may be moved."""
    commands = [shlex.join(argument.replace(f"{folder}/", "") for argument in command) for command in stage.commands]
    return {
        **{f"files of {name}": manifest.stages[name].digest(patterns) for name, patterns in stage.needs.items()},
        **{f"version of {tool}": version for tool, version in stage.versions.items()},
        **stage.facts,
        **{f"command {number}": command for number, command in enumerate(commands, 1)},
    }
