"""The GPUs of this machine, as `nvidia-smi` tells of them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

QUERY = ("name", "memory.total", "memory.free", "compute_cap")
TIMEOUT = 30.0  # seconds; a driver that hangs must not hang the build


class GpuError(Exception):
    """What nvidia-smi says is not understood."""


@dataclass(frozen=True)
class Gpu:
    """Memory in bytes; `capability` is CUDA's compute capability, (0, 0) where it is not known."""

    name: str
    memory: int
    free: int
    capability: tuple[int, int] = (0, 0)


def find_gpus() -> tuple[Gpu, ...]:
    """All GPUs; none where there is no nvidia-smi.

    Raises:
        GpuError: nvidia-smi fails, or answers in another form.
    """
    if shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GpuError(f"nvidia-smi: {error}") from error
    if answer.returncode:
        said = (answer.stderr or answer.stdout).strip() or answer.returncode
        raise GpuError(f"nvidia-smi: {said}; --gpu-memory GIB builds without asking it")
    return tuple(_gpu(line) for line in answer.stdout.splitlines() if line.strip())


def serving_gpus(gib: float, count: int) -> tuple[Gpu, ...]:
    """The GPUs that will serve: `count` of `gib` GiB each, or this machine's where `gib` is 0. Raises GpuError."""
    return (Gpu("a GPU", int(gib * (1 << 30)), 0),) * count if gib else find_gpus()


def _gpu(line: str) -> Gpu:
    try:
        name, total, free, capability = (part.strip() for part in line.rsplit(",", 3))
        major, minor = (int(part) for part in capability.split("."))
        return Gpu(name, int(total) << 20, int(free) << 20, (major, minor))
    except ValueError as error:
        # GPUs that share the host's memory have none of their own to tell of.
        raise GpuError(f"nvidia-smi: {line!r} is not understood; --gpu-memory GIB says it in its place") from error
