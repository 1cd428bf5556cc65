"""A small process between `tritongate` and Triton: however Triton ends, nothing of it stays behind.

Triton killed outright leaves `triton_python_backend_stub` processes and `/dev/shm` segments; a killed
`tritongate` would leave Triton. The guard outlives both: it starts Triton in a process group of its own,
adopts orphaned stubs (child subreaper), and when Triton ends, or the pipe on its stdin closes, it clears the
group and the segments.

Run by `launcher.triton_server` as a plain file with `python -I -S`: standard library only. Protocol:
  stdin   a line `stop` asks for a clean stop, `kill` for an immediate one; end of file: the launcher is gone.
  stdout  `pid N` once Triton runs, `exit CODE` (negative: a signal) after everything has been cleared.
  stderr  handed to Triton together with stdout: its log.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import math
import os
import select
import signal
import sys
import time

SHM = "/dev/shm"
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
KILL_WAIT = 5.0  # seconds for killed processes to be gone
ORPHAN_GRACE = 5.0  # seconds that Triton has for a clean exit when the launcher is gone


def clear_shm(prefix: str) -> int:
    """Removes the shared memory segments whose name begins with `prefix`; returns how many there were."""
    removed = 0
    for name in os.listdir(SHM) if os.path.isdir(SHM) else []:
        if name.startswith(prefix):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(SHM, name))
                removed += 1
    return removed


def spawn(command: list[str], libc: ctypes.CDLL) -> int:
    """Starts Triton as leader of a new process group; it dies with this process. Returns its pid."""
    guard = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setpgid(0, 0)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:  # died before prctl
            os._exit(127)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)
        os.execv(command[0], command)
    except OSError as error:
        print(f"guard: {command[0]}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(127)


class Guard:
    """Watches one Triton process: `run` returns when nothing of it is left."""

    def __init__(self, command: list[str], prefix: str, grace: float) -> None:
        self.command = command
        self.prefix = prefix
        self.grace = grace
        self.triton = 0
        self.status: int | None = None
        self.terminated = False

    def run(self) -> int:
        """Returns Triton's exit code, negative for a signal."""
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        wakeup, alarm = os.pipe()
        for fd in (wakeup, alarm):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(alarm)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)

        self.triton = spawn(self.command, libc)
        self._report(f"pid {self.triton}")
        self._watch(wakeup)
        self._kill(-self.triton, signal.SIGKILL)
        self._wait_for_all(KILL_WAIT)
        clear_shm(self.prefix)
        code = -signal.SIGKILL if self.status is None else os.waitstatus_to_exitcode(self.status)
        self._report(f"exit {code}")
        return code

    def _watch(self, wakeup: int) -> None:
        """Until Triton has ended, or its time for a clean exit is over."""
        orders = [0]
        deadline = math.inf
        while self.status is None and time.monotonic() < deadline:
            left = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([*orders, wakeup], [], [], left)
            if wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wakeup, 4096)
            grace = self.grace if self.terminated else math.inf
            if 0 in ready:
                order = os.read(0, 4096)
                if b"kill" in order:
                    return
                if not order:
                    orders = []
                grace = self.grace if order else min(self.grace, ORPHAN_GRACE)
            if grace != math.inf:
                if deadline == math.inf:
                    self._kill(self.triton, signal.SIGTERM)
                deadline = min(deadline, time.monotonic() + grace)
            self._reap()

    def _reap(self) -> bool:
        """Collects ended children; True when none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.triton:
                self.status = status

    def _wait_for_all(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._reap() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _on_terminate(self, *_: object) -> None:
        self.terminated = True

    @staticmethod
    def _kill(pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)

    @staticmethod
    def _report(line: str) -> None:
        with contextlib.suppress(OSError):
            os.write(1, f"{line}\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shm-prefix", required=True)
    parser.add_argument("--grace", type=float, required=True, help="seconds for a clean exit")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    Guard(arguments.command, arguments.shm_prefix, arguments.grace).run()


if __name__ == "__main__":
    main()
