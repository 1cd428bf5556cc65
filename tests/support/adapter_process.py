"""The adapter as its users run it: a process of its own, told what to do by `TRITONGATE_*` variables."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import httpx

from launcher.ports import free_ports

ROOT = Path(__file__).parents[2]
READY_TIMEOUT = 60.0
STOP_TIMEOUT = 15.0


class AdapterFailed(Exception):
    """The adapter ended, or was not ready in time; the message holds its exit code and what it printed."""


class AdapterProcess:
    """`python -m adapter` on a free port of the loopback address; a context manager.

    Args:
        triton_url: `grpc://host:port`.
        log: file for what it prints.
        wait: return only when `/health/ready` answers 200. False: when anything answers, for an adapter
            whose Triton is not there.
        settings: fields of `adapter.settings.Settings`.
    """

    def __init__(self, triton_url: str, log: Path, *, wait: bool = True, **settings: object) -> None:
        self.port = int(str(settings.pop("port", 0))) or free_ports(1)[0]
        self.log = log
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TRITONGATE_") or name == "TRITONGATE_CACHE"
        }
        store = f"sqlite:///{log.absolute()}.sqlite"  # of its own, and there again for an adapter with the same log
        told = {"triton_url": triton_url, "port": self.port, "store_url": store, **settings}
        environment.update({f"TRITONGATE_{name.upper()}": _text(value) for name, value in told.items()})
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "adapter"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self._await("/health/ready" if wait else "/health/live")
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, without `/v1`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as `base_url`."""
        return f"{self.url}/v1"

    def output(self) -> str:
        """What it has printed so far: its log."""
        return self.log.read_text(errors="replace")

    def stop(self) -> int:
        """Ends it with SIGTERM, and outright if that takes too long. Returns the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(STOP_TIMEOUT)

    def __enter__(self) -> AdapterProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _await(self, path: str) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        with httpx.Client(base_url=self.url, timeout=5.0, trust_env=False) as client:
            while True:
                if (code := self.process.poll()) is not None:
                    raise AdapterFailed(f"the adapter ended (exit code {code})\n{self.output()}")
                try:
                    if client.get(path).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                if time.monotonic() > deadline:
                    raise AdapterFailed(f"{path} was not 200 in {READY_TIMEOUT:.0f} s\n{self.output()}")
                time.sleep(0.05)


def _text(value: object) -> str:
    """A value as pydantic-settings reads it from the environment."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
