"""How much processor time a process has used."""

from __future__ import annotations

import time


def cpu_seconds(pid: int) -> float:
    """User and system time of a process of this machine, all its threads, past ones too; in seconds.

    Linux numbers the clock of each process's time from its id (`clock_getcpuclockid(3)`); /proc/PID/stat has the same
    figure in steps of 10 ms, too coarse for a short run.

    Raises:
        OSError: there is no such process.
    """
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9
