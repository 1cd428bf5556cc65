"""`tritongate serve` as a process of its own, and what is left of one when it is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from launcher.guard import SHM
from launcher.ports import free_ports
from launcher.processes import processes_of
from launcher.state import RECORD

TRITONGATE = Path(sys.executable).with_name("tritongate")
READY = "Tritongate is ready"


def remains(prefix: str) -> list[str]:
    """The processes and shared memory segments of the Triton with this prefix."""
    processes = [f"process {process.pid}: {process.arguments[0]}" for process in processes_of(prefix)]
    return processes + [name for name in os.listdir(SHM) if name.startswith(prefix)]


def wait_until(condition: Callable[[], object], timeout: float, message: str) -> None:
    """Returns when `condition` holds; fails the test with `message` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.02)


class ServeProcess:
    """Starts `tritongate serve ARGUMENTS` on a free port; ended outright at the end of the block at the latest.

    Args:
        folder: for the state folder and what the process prints.
        arguments: further command line arguments.
        environment: variables to set.
    """

    def __init__(self, folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.port = free_ports(1)[0]
        self.state_dir = folder / "state"
        self._out, self._err = folder / "stdout.txt", folder / "stderr.txt"
        own = {name: value for name, value in os.environ.items() if not name.startswith("TRITONGATE_")}
        if "TRITONGATE_CACHE" in os.environ:
            own["TRITONGATE_CACHE"] = os.environ["TRITONGATE_CACHE"]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [TRITONGATE, "serve", f"--port={self.port}", f"--state-dir={self.state_dir}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=own | (environment or {}),
                start_new_session=True,
            )

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    @property
    def prefix(self) -> str:
        """The shared memory prefix of its Triton, from the record in the state folder."""
        return str(json.loads((self.state_dir / RECORD).read_text())["shm_prefix"])

    def wait_for(self, text: str, timeout: float = 60.0) -> None:
        """Returns when it has printed `text`; fails when it ends without."""

        def seen() -> bool:
            return text in self.out or text in self.err

        wait_until(lambda: seen() or self.process.poll() is not None, timeout, f"no {text!r} in time:\n{self.err}")
        assert seen(), f"ended with {self.process.returncode}, without {text!r}:\n{self.err}"

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 30.0) -> int:
        """The exit code."""
        return self.process.wait(timeout)

    def __enter__(self) -> ServeProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10.0)
