"""A helper process that does one run at a time: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import asyncio
import json
import select
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT = 300.0  # seconds for one run


class WorkerFailed(Exception):
    """A run went wrong, or did not deliver what was asked for; the message says what."""


@dataclass(frozen=True)
class Run:
    """What a worker does: `streams` at a time, each `requests` answers in a row, each of `tokens` tokens."""

    streams: int
    requests: int
    tokens: int

    @property
    def total(self) -> int:
        return self.streams * self.requests * self.tokens


@dataclass(frozen=True)
class Outcome:
    """seconds: from first request to last answer's end. first_tokens: seconds to the first token, by request."""

    seconds: float
    first_tokens: list[float]


def serve(run: Callable[[Run], Awaitable[Outcome]]) -> None:
    """The worker's side: runs until its standard input ends."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        print(json.dumps({"ready": True}), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            try:
                answer: dict[str, Any] = asdict(await run(Run(**json.loads(line))))
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)

    asyncio.run(main())


class Worker:
    """The bench's side: starts `python -m MODULE ARGUMENTS`, hands it runs; a context manager."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._name = module
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        self._answer(timeout=60.0)

    @property
    def pid(self) -> int:
        return self.process.pid

    def run(self, run: Run) -> Outcome:
        """Raises WorkerFailed."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asdict(run)) + "\n")
        self.process.stdin.flush()
        return Outcome(**self._answer(RUN_TIMEOUT))

    def _answer(self, timeout: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            raise WorkerFailed(f"{self._name} has not answered for {timeout:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise WorkerFailed(f"{self._name} ended (exit code {self.process.wait()})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{self._name}: {answer['error']}")
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
