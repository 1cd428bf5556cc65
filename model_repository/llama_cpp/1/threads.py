"""How many threads compute."""

from __future__ import annotations

import os


def default_threads() -> tuple[int, int]:
    """Threads for prompts and for steps: all cores, and all but one.

    In a step the threads meet hundreds of times, so one that shares its core with somebody else slows all of them down
    many times over (seen: 160 tokens/s with one thread became 10 with two on two cores that also ran the client).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores, max(1, cores - 1)
