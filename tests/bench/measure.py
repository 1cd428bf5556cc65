"""The rounds: every subject at every number of streams, one after the other, again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from launcher.ports import free_ports
from launcher.triton_server import TritonServer
from tests.bench.cpu import cpu_seconds
from tests.bench.engine_model import NAME, assemble
from tests.bench.worker import Run, Worker
from tests.support.adapter_process import AdapterProcess

BARE, PROXY, ADAPTER, RESPONSES = "bare client", "proxy", "adapter", "responses"
FIRST_TOKEN_RUN = Run(streams=1, requests=50, tokens=4)


@dataclass(frozen=True)
class Subject:
    """What is measured. pid: whose processor time counts. driver: makes it work; the bare client is its own."""

    name: str
    pid: int
    driver: Worker


@dataclass
class Cell:
    """One subject at one number of streams; a value per round."""

    tokens_per_second: list[float] = field(default_factory=list)
    cpu_microseconds: list[float] = field(default_factory=list)  # per token

    def rate(self) -> float:
        return median(self.tokens_per_second)

    def cpu(self) -> float:
        return median(self.cpu_microseconds)


@dataclass
class Results:
    """cells: (subject, streams) -> Cell. first_token: subject -> milliseconds, the median of each round."""

    cells: dict[tuple[str, int], Cell] = field(default_factory=dict)
    first_token: dict[str, list[float]] = field(default_factory=dict)


def measure(
    subjects: list[Subject],
    streams: list[int],
    tokens: int,
    total: int,
    rounds: int,
    notify: Callable[[str], None] = lambda line: None,
) -> Results:
    """Runs all subjects in turn, so that a slow minute of the machine meets all of them.

    Args:
        tokens: of each answer.
        total: tokens of one run, at least: with few streams, each stream makes several requests in a row.

    Raises:
        WorkerFailed: a stream did not bring exactly the tokens asked for.
    """
    results = Results()
    for subject in subjects:  # warm-up: imports, tables, connections
        subject.driver.run(Run(streams=max(streams), requests=1, tokens=32))
    for number in range(1, rounds + 1):
        for count in streams:
            run = Run(streams=count, requests=max(1, -(-total // (count * tokens))), tokens=tokens)
            for subject in subjects:
                cell = results.cells.setdefault((subject.name, count), Cell())
                before = cpu_seconds(subject.pid)
                outcome = subject.driver.run(run)
                used = cpu_seconds(subject.pid) - before
                cell.tokens_per_second.append(run.total / outcome.seconds)
                cell.cpu_microseconds.append(used / run.total * 1e6)
                notify(
                    f"round {number}, {count:3} streams, {subject.name:11}: "
                    f"{cell.tokens_per_second[-1]:6.0f} tokens/s, {cell.cpu_microseconds[-1]:6.1f} us CPU/token"
                )
        for subject in subjects:
            outcome = subject.driver.run(FIRST_TOKEN_RUN)
            results.first_token.setdefault(subject.name, []).append(median(outcome.first_tokens) * 1e3)
    return results


@contextmanager
def running(
    folder: Path, tokens_per_second: float, instances: int, notify: Callable[[str], None]
) -> Iterator[list[Subject]]:
    """A Triton with the token-at-will model, and in front of it each subject in a process of its own.

    Args:
        folder: empty; holds the repository and the logs.
    """
    prompt = assemble(folder / "repository", tokens_per_second, instances)
    with ExitStack() as stack:
        triton = stack.enter_context(TritonServer([folder / "repository"], folder / "triton", notify=notify))
        target = triton.grpc_url.removeprefix("grpc://")
        bare = stack.enter_context(Worker("tests.bench.bare_client", target, NAME, prompt))
        (port,) = free_ports(1)
        proxy = stack.enter_context(Worker("tests.bench.proxy", target, NAME, prompt, str(port)))
        adapter = stack.enter_context(AdapterProcess(triton.grpc_url, folder / "adapter.log"))
        proxy_load = stack.enter_context(Worker("tests.bench.http_load", str(port), "proxy"))
        adapter_load = stack.enter_context(Worker("tests.bench.http_load", str(adapter.port), "chat"))
        responses_load = stack.enter_context(Worker("tests.bench.http_load", str(adapter.port), "responses"))
        yield [
            Subject(BARE, bare.pid, bare),
            Subject(PROXY, proxy.pid, proxy_load),
            Subject(ADAPTER, adapter.pid, adapter_load),
            Subject(RESPONSES, adapter.pid, responses_load),
        ]
