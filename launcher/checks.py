"""What a machine needs to serve, one check each: what is so, and the command that mends it.

A check looks at the machine and changes nothing. Those that `tritongate serve` cannot do without are failures;
what only limits it is a warning.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import httpx

from build.catalog import ModelEntry
from build.fetch import cached
from launcher import guard
from launcher.libpython import shortcomings
from launcher.ports import reason_taken
from launcher.processes import PREFIX, processes_of
from launcher.triton_binaries import NO_TELEMETRY, REMOTE_HINT, TritonNotFound, lay_out, supported_platform

INSTALL = "make setup (in a checkout), or: pip install 'tritongate[cpu]'"
MEGABYTE = 1 << 20
SHM_NEEDED = 64 * MEGABYTE  # a few MB per Python model process, more while large tensors pass
DISK_SPARE = 512 * MEGABYTE  # besides the weights: tokenizers, graphs, logs
MEMORY_SPARE = 1024 * MEGABYTE  # besides the weights: Triton, its Python processes, the adapter
PROBE_TIMEOUT = 120.0  # seconds for a short command of ours, on a slow disk


class Verdict(str, Enum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """The result of one check. `mend` is a command, or what else to do; empty if nothing is."""

    verdict: Verdict
    subject: str
    detail: str
    mend: str = ""


def python() -> Finding:
    """The interpreter: its version, venv and shared library."""
    problems = shortcomings()
    version = ".".join(map(str, sys.version_info[:3]))
    if not problems:
        return Finding(Verdict.OK, "Python", f"{version}, {sys.executable}")
    detail, _, mend = "; ".join(problems).partition(": ")
    return Finding(
        Verdict.FAILED, "Python", detail, mend if len(problems) == 1 else "sh requirements/find_python.sh says more"
    )


def platform() -> Finding:
    """Whether there is a Triton for this kind of machine at all."""
    if supported_platform():
        return Finding(Verdict.OK, "platform", "Linux with a Triton wheel")
    return Finding(Verdict.FAILED, "platform", f"there is no Triton wheel for {sys.platform}", REMOTE_HINT)


def stub_python() -> Finding:
    """Triton's stub takes its environment from the `python3` that lies beside ours."""
    beside = Path(sys.executable).parent / "python3"
    subject = "python3 for Triton's models"
    try:
        prefix = subprocess.run(
            [beside, "-c", "import sys; print(sys.prefix, *sys.version_info[:2])"],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(Verdict.FAILED, subject, f"{beside} does not run: {error}", INSTALL)
    if prefix != f"{sys.prefix} {sys.version_info[0]} {sys.version_info[1]}":
        return Finding(
            Verdict.FAILED, subject, f"{beside} belongs to another environment ({prefix})", "use a venv: make setup"
        )
    return Finding(Verdict.OK, subject, str(beside))


def triton() -> Finding:
    """Server, stub and libraries are there and fit together: the server is started far enough to say its usage."""
    try:
        with tempfile.TemporaryDirectory(prefix="tritongate-doctor-") as folder:
            binaries = lay_out(Path(folder))
            answer = subprocess.run(
                [binaries.executable, "--help"],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PROBE_TIMEOUT,
                env=binaries.environment(),
            )
    except TritonNotFound as error:
        return Finding(Verdict.FAILED, "Triton", str(error), INSTALL)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(Verdict.FAILED, "Triton", f"tritonserver does not start: {error}", INSTALL)
    said = answer.stdout + answer.stderr
    if "Usage: tritonserver" not in said:
        last = (said.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
        return Finding(Verdict.FAILED, "Triton", f"tritonserver does not start: {last}", INSTALL)
    return Finding(Verdict.OK, "Triton", f"nvidia-pytriton {binaries.version}, stub and libraries fit")


def numpy() -> Finding:
    """numpy 2 beside this stub: tensors arrive empty, without an error."""
    try:
        version = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        return Finding(Verdict.FAILED, "numpy", "not installed", INSTALL)
    if int(version.split(".")[0]) >= 2:
        detail = f"{version}: Triton's Python models would silently get empty tensors; below 2 is needed"
        return Finding(Verdict.FAILED, "numpy", detail, f"{sys.executable} -m pip install 'numpy>=1.26.4,<2'")
    return Finding(Verdict.OK, "numpy", version)


def importable(module: str, purpose: str) -> Finding:
    """An engine's package can be imported; tried in a process of its own, which a crash may end."""
    try:
        answer = subprocess.run(
            [sys.executable, "-c", f"import {module}"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_TIMEOUT,
            env={**os.environ, **NO_TELEMETRY},
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(Verdict.FAILED, module, str(error), INSTALL)
    if answer.returncode == 0:
        return Finding(Verdict.OK, module, f"imports ({purpose})")
    ended = f"ended by signal {-answer.returncode}" if answer.returncode < 0 else "fails"
    last = (answer.stderr.strip().splitlines() or [ended])[-1]
    return Finding(Verdict.FAILED, module, f"the import for {purpose} {ended}: {last}", INSTALL)


def shared_memory(folder: Path = Path(guard.SHM)) -> Finding:
    """Triton and its Python processes pass tensors through it; a container has 64 MB unless told otherwise."""
    subject = str(folder)
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding(Verdict.FAILED, subject, f"not usable: {error.strerror}", "mount -t tmpfs tmpfs /dev/shm")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding(Verdict.FAILED, subject, "not writable", f"chmod 1777 {folder}")
    size = f"{free // MEGABYTE:,} MB free"
    if free < SHM_NEEDED:
        mend = "mount -o remount,size=1G /dev/shm (in a container: docker run --shm-size=1g)"
        return Finding(Verdict.FAILED, subject, f"{size}, {SHM_NEEDED // MEGABYTE} MB are needed", mend)
    return Finding(Verdict.OK, subject, size)


def stale_segments(folder: Path = Path(guard.SHM)) -> Finding:
    """Shared memory of a Triton of ours that runs no more, and that no later start has cleared."""
    subject = "leftovers in shared memory"
    names = os.listdir(folder) if folder.is_dir() else []
    matches = [match for name in names if (match := PREFIX.match(name))]
    prefixes = {match.group() for match in matches}
    stale = sorted(prefix for prefix in prefixes if not any(processes_of(prefix)))
    if not stale:
        return Finding(Verdict.OK, subject, "none")
    count = sum(match.group() in stale for match in matches)
    mend = "rm " + " ".join(f"{folder}/{prefix}*" for prefix in stale)
    return Finding(Verdict.WARNING, subject, f"{count} segments of {len(stale)} Tritons that no longer run", mend)


def weights(entries: tuple[ModelEntry, ...], cache: Path) -> Finding:
    """The default models' files are in the cache."""
    missing = _missing_bytes(entries, cache)
    if not missing:
        return Finding(Verdict.OK, "weights", f"of the default models, in {cache}")
    ids = " ".join(entry.id for entry in entries if _missing_bytes((entry,), cache))
    return Finding(
        Verdict.WARNING,
        "weights",
        f"{missing / 1e6:,.0f} MB are not downloaded yet ({ids})",
        f"tritongate serve downloads them; beforehand: {sys.executable} -m build.fetch",
    )


def disk(entries: tuple[ModelEntry, ...], cache: Path) -> Finding:
    """Room for the files that are still to be fetched, and for what is made from them."""
    # A file that comes in parts is there twice for a moment.
    needed = 2 * _missing_bytes(entries, cache) + DISK_SPARE
    folder = next(path for path in (cache, *cache.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:,.1f} GB free at {folder}"
    if free < needed:
        mend = f"free {(needed - free) / 1e9:,.1f} GB, or choose another place: export TRITONGATE_CACHE=DIR"
        return Finding(Verdict.FAILED, "disk", f"{detail}, {needed / 1e9:,.1f} GB are needed", mend)
    return Finding(Verdict.OK, "disk", detail)


def memory(entries: tuple[ModelEntry, ...], meminfo: Path = Path("/proc/meminfo")) -> Finding:
    """The weights of the default models and the processes around them fit."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found is None:
        return Finding(Verdict.WARNING, "memory", "the system does not say how much is available")
    available = int(found.group(1)) * 1024
    needed = sum(file.size for entry in entries for file in entry.files) + MEMORY_SPARE
    detail = f"{available / 1e9:,.1f} GB available"
    if available < needed:
        mend = "end other programs, or serve a smaller model: tritongate models; tritongate serve --model ID"
        return Finding(
            Verdict.WARNING, "memory", f"{detail}; the default models want about {needed / 1e9:,.1f} GB", mend
        )
    return Finding(Verdict.OK, "memory", detail)


def address(host: str, port: int) -> Finding:
    """Whether the adapter could listen there now."""
    subject = f"{host}:{port}"
    reason = reason_taken(host, port)
    if reason is None:
        return Finding(Verdict.OK, subject, "free")
    if _is_tritongate(host, port):
        return Finding(Verdict.OK, subject, "Tritongate runs there")
    mend = "tritongate serve --port N chooses another" + (
        f"; ss -ltnp 'sport = :{port}' shows who has it" if port else ""
    )
    return Finding(Verdict.FAILED, subject, reason, mend)


def _is_tritongate(host: str, port: int) -> bool:
    """Whether what listens there answers as an adapter does."""
    try:
        with httpx.Client(timeout=2.0, trust_env=False) as client:
            answer = client.get(f"http://{f'[{host}]' if ':' in host else host}:{port}/health/live")
        return answer.json() == {"status": "live"} and "x-request-id" in answer.headers
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False


def _missing_bytes(entries: tuple[ModelEntry, ...], cache: Path) -> int:
    return sum(file.size for entry in entries for file in entry.files if not cached(file, cache))


Check = Callable[[], Finding]


def local_checks(entries: tuple[ModelEntry, ...], cache: Path) -> list[Check]:
    """For a Triton that `tritongate serve` starts here; in an order in which one failure explains the next."""
    if not supported_platform():
        return [platform]
    return [
        platform,
        stub_python,
        triton,
        numpy,
        lambda: importable("xllamacpp", "chat models"),
        lambda: importable("onnxruntime", "embedding models"),
        shared_memory,
        stale_segments,
        lambda: memory(entries),
        lambda: disk(entries, cache),
        lambda: weights(entries, cache),
    ]
