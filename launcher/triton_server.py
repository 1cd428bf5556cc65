"""A supervised Triton Inference Server on this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from launcher import guard, state
from launcher.errors import LauncherError
from launcher.ports import LOOPBACK, free_ports
from launcher.processes import destroy, processes_of
from launcher.triton_binaries import TritonBinaries, lay_out
from launcher.triton_health import LOADED, HealthClient, log_tail

LOG_LIMIT = 16 << 20  # bytes; one older part of the same size is kept
CHECK_INTERVAL = 1.0  # seconds between two looks at the stubs and the log
FIRST_DELAY = 0.5  # seconds before the first restart; doubles up to
LONGEST_DELAY = 30.0
HEALTHY_AFTER = 60.0  # seconds of health after which the delay starts from the beginning


class TritonFailed(LauncherError):
    """Triton did not become ready; the message holds the reasons it gave and the end of its log."""


class TritonServer:
    """Starts Triton, restarts it when it dies, and leaves nothing behind.

    A thread watches the process and its Python stubs: Triton itself keeps calling a model ready whose stub
    has died, and fails every request to it. Restarts keep the ports. The caller holds the `StateLock` of
    `state_dir`.

    Args:
        repositories: model repositories; every model in them is loaded.
        state_dir: for the laid-out binaries and the record for the next run.
        log: file for what Triton says; by default `logs/triton.log` in `state_dir`.
        grpc_port, http_port, metrics_port: 0 picks a free one at the first start.
        ready_timeout: seconds that loading all models may take.
        stop_timeout: seconds that running requests have at a stop.
        notify: called with a line of text on every event worth a person's attention, from any thread.
        arguments: further command line arguments of `tritonserver`.
    """

    def __init__(
        self,
        repositories: Sequence[Path],
        state_dir: Path,
        *,
        log: Path | None = None,
        grpc_port: int = 0,
        http_port: int = 0,
        metrics_port: int = 0,
        ready_timeout: float = 300.0,
        stop_timeout: float = 10.0,
        notify: Callable[[str], None] = lambda line: None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.repositories = [repository.absolute() for repository in repositories]
        self.state_dir = state_dir.absolute()
        self.log = log.absolute() if log else self.state_dir / "logs" / "triton.log"
        self.ports = {"grpc": grpc_port, "http": http_port, "metrics": metrics_port}
        self.shm_prefix = f"tritongate-{os.getuid()}-{secrets.token_hex(6)}"
        self.starts = 0  # how often Triton has become ready
        self._ready_timeout = ready_timeout
        self._stop_timeout = stop_timeout
        self._notify = notify
        self._arguments = list(arguments)
        self._guard: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._log_start = 0
        self._said = b""
        self._stubs: dict[int, str] = {}
        self._suspects: set[str] = set()
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._monitor: threading.Thread | None = None
        self._wake_read, self._wake_write = -1, -1

    @property
    def pid(self) -> int:
        """The process id of `tritonserver` (another one after a restart)."""
        return self._pid

    @property
    def grpc_url(self) -> str:
        return f"grpc://{LOOPBACK}:{self.ports['grpc']}"

    @property
    def http_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports['http']}"

    @property
    def ready(self) -> bool:
        """Whether Triton runs with every model loaded, as far as the supervisor knows."""
        return self._ready.is_set()

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when every model is loaded.

        Raises:
            TritonNotFound: no Triton for this machine.
            TritonFailed: it ended, a model failed to load, or `ready_timeout` passed. Nothing is left.
        """
        if self._monitor is not None:
            raise RuntimeError("already started")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        processes, segments = state.clear_leftovers(self.state_dir)
        if processes or segments:
            self._notify(f"cleared an earlier run: {processes} processes, {segments} shared memory segments")
        binaries = lay_out(self.state_dir / "triton")
        for (name, port), free in zip(self.ports.items(), free_ports(len(self.ports)), strict=True):
            self.ports[name] = port or free
        try:
            self._launch(binaries)
            self._await_ready()
        except BaseException:
            self._end("kill")
            raise
        self._wake_read, self._wake_write = os.pipe()
        self._monitor = threading.Thread(target=self._watch, args=(binaries,), name="triton-monitor", daemon=True)
        self._monitor.start()

    def stop(self) -> None:
        """Ends Triton: running requests have `stop_timeout` seconds. Harmless when it does not run."""
        self._stopping.set()
        if self._monitor is not None:
            os.write(self._wake_write, b"\0")
            self._monitor.join()
            self._monitor = None
            os.close(self._wake_read)
            os.close(self._wake_write)
        self._end("stop")

    def cancel(self) -> None:
        """Makes a running `start` fail soon. Safe in a signal handler."""
        self._stopping.set()

    def hurry(self) -> None:
        """Makes a running `stop` end Triton at once, whatever requests it has. Safe in a signal handler."""
        self._order("kill")

    def wait_restarted(self, starts: int, timeout: float = 120.0) -> None:
        """Waits until Triton has become ready more often than `starts` times."""
        deadline = time.monotonic() + timeout
        while self.starts <= starts or not self.ready:
            if time.monotonic() > deadline:
                self._fail(f"Triton was not ready again after {timeout:.0f} s")
            time.sleep(0.05)

    def _command(self, binaries: TritonBinaries) -> list[str]:
        return [
            str(binaries.executable),
            *(f"--model-repository={repository}" for repository in self.repositories),
            f"--backend-directory={binaries.backends}",
            "--model-control-mode=explicit",
            "--load-model=*",
            "--exit-on-error=false",
            f"--id={self.shm_prefix}",  # tells it from another server on the same port
            f"--exit-timeout-secs={max(1, round(self._stop_timeout) - 1)}",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
            f"--grpc-address={LOOPBACK}",
            f"--http-address={LOOPBACK}",
            f"--metrics-address={LOOPBACK}",
            f"--grpc-port={self.ports['grpc']}",
            f"--http-port={self.ports['http']}",
            f"--metrics-port={self.ports['metrics']}",
            *self._arguments,
        ]

    def _launch(self, binaries: TritonBinaries) -> None:
        """Starts guard and Triton; returns when Triton has a process id."""
        # Written before anything runs: a crash from here on leaves a trace for the next start.
        state.remember(self.state_dir, self.shm_prefix, self.ports, 0)
        self._bound_log()
        self._said = b""
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._guard = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", guard.__file__),
                    *("--shm-prefix", self.shm_prefix, "--grace", str(self._stop_timeout)),
                    *("--", *self._command(binaries)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                stderr=log,
                env=binaries.environment(),
                start_new_session=True,
            )
        word, _, number = self._guard_says(timeout=10.0).partition(" ")
        if word != "pid":
            self._fail("Triton could not be started")
        self._pid = int(number)
        state.remember(self.state_dir, self.shm_prefix, self.ports, self._pid)

    def _await_ready(self) -> None:
        """Waits for every model; says which have been loaded meanwhile."""
        deadline = time.monotonic() + self._ready_timeout
        position = self._log_start
        health = HealthClient(self.http_url)
        try:
            while True:
                position = self._report_progress(position)
                if self._guard is None or self._guard.poll() is not None:
                    self._fail("Triton ended while starting")
                identity = health.identity()
                if identity is not None:
                    if identity != self.shm_prefix:
                        self._fail(f"port {self.ports['http']} is taken by another server")
                    failed = [model for model in health.models() or () if model.state != "READY"]
                    if failed:
                        reasons = [f"  {model.name}: {model.reason or model.state}" for model in failed]
                        self._fail("\n".join(["models failed to load:", *reasons]))
                    if health.ready():
                        break
                if time.monotonic() > deadline:
                    self._fail(f"Triton was not ready after {self._ready_timeout:.0f} s")
                if self._stopping.wait(0.1):
                    self._fail("stopped while starting")
        finally:
            health.close()
        self._report_progress(position)
        self._stubs = self._running_stubs()
        self.starts += 1
        self._ready.set()

    def _report_progress(self, position: int) -> int:
        """Passes on what the log says of loaded models since `position`; returns the position reached."""
        with self.log.open("rb") as log:
            log.seek(position)
            text = log.read(1 << 20)
        complete = text[: text.rfind(b"\n") + 1]
        for name in LOADED.findall(complete.decode(errors="replace")):
            self._notify(f"loaded {name}")
        return position + len(complete)

    def _fail(self, message: str) -> NoReturn:
        tail = log_tail(self.log, since=self._log_start)
        raise TritonFailed(f"{message}\n--- end of {self.log} ---\n{tail}" if tail else message)

    def _watch(self, binaries: TritonBinaries) -> None:
        """The monitor thread: waits for Triton's end or a dead stub, and starts it anew until stopped."""
        delay = FIRST_DELAY
        healthy_since = time.monotonic()
        while not self._stopping.is_set():
            if self.ready:
                assert self._guard is not None and self._guard.stdout is not None
                report = self._guard.stdout.fileno()
                ended = report in select.select([report, self._wake_read], [], [], CHECK_INTERVAL)[0]
                if self._stopping.is_set():
                    return
                problem = self._ended() if ended else self._dead_stub()
                if problem is None:
                    self._bound_log()
                    continue
                self._ready.clear()
                if time.monotonic() - healthy_since > HEALTHY_AFTER:
                    delay = FIRST_DELAY
                self._notify(f"{problem}; starting Triton again in {delay:.1f} s")
            self._end("kill")
            if self._stopping.wait(delay):
                return
            delay = min(2 * delay, LONGEST_DELAY)
            try:
                self._launch(binaries)
                self._await_ready()
                healthy_since = time.monotonic()
                self._notify(f"Triton is ready again (process {self.pid})")
            except (TritonFailed, OSError) as error:
                if not self._stopping.is_set():
                    self._notify(f"{error}\nstarting Triton again in {delay:.1f} s")

    def _ended(self) -> str:
        word, _, code = self._guard_says(timeout=1.0).partition(" ")
        return f"Triton ended (exit code {code})" if word == "exit" else "Triton's guard ended"

    def _dead_stub(self) -> str | None:
        """Names a model that Triton holds for ready though one of its Python processes is gone."""
        running = self._running_stubs()
        self._suspects |= {model for pid, model in self._stubs.items() if pid not in running}
        self._stubs = running
        if not self._suspects:
            return None
        health = HealthClient(self.http_url)
        try:
            models = health.models()
            if models is None:
                return None  # asked again at the next look
            suspects, self._suspects = self._suspects, set()
            # One unloaded or reloaded on purpose is not ready, or has as many processes as it should.
            for model in suspects.intersection(model.name for model in models if model.state == "READY"):
                if list(self._running_stubs().values()).count(model) < health.instances(model):
                    return f"a Python process of model {model} ended"
        finally:
            health.close()
        return None

    def _running_stubs(self) -> dict[int, str]:
        found = processes_of(self.shm_prefix)
        return {process.pid: process.model or "" for process in found if process.is_stub}

    def _bound_log(self) -> None:
        """Keeps the log file within `LOG_LIMIT` bytes; Triton appends, so it may be cut under its hands."""
        with contextlib.suppress(OSError):  # somebody removed it, or the disk is full: no reason to stop
            if self.log.stat().st_size > LOG_LIMIT:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)

    def _guard_says(self, timeout: float) -> str:
        """The next line of the guard; empty at its end or after `timeout` seconds."""
        assert self._guard is not None and self._guard.stdout is not None
        if b"\n" not in self._said and select.select([self._guard.stdout], [], [], timeout)[0]:
            # The guard writes whole lines: one read may hold two, but never a part of one.
            self._said += os.read(self._guard.stdout.fileno(), 256)
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def _order(self, word: str) -> None:
        process = self._guard
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it has ended, or `_end` has closed the pipe
                process.stdin.write(f"{word}\n".encode())

    def _end(self, word: str) -> None:
        """Has the guard end Triton (`stop` or `kill`), and sees to it itself if the guard does not."""
        self._ready.clear()
        process = self._guard
        if process is None:
            return
        self._order(word)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self._stop_timeout + 2 * guard.KILL_WAIT)
        destroy(self.shm_prefix)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(guard.KILL_WAIT)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._guard = None
        self._stubs = {}
        self._suspects = set()
        state.forget(self.state_dir)
