"""Embeddings per second: the adapter against the Triton ensemble called directly, in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from launcher.triton_server import TritonServer
from tests.bench.cpu import cpu_seconds
from tests.bench.worker import Run, Worker
from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.own_models import repository_of

DIRECT, ADAPTER = "direct", "adapter"
SHAPES = ((1, 32), (32, 4), (256, 1))  # texts of a request, requests at a time
TEXTS = 2048  # of one run, at least


@dataclass
class Cell:
    """One subject at one shape; a value per round.

    cpu_microseconds: per request, of the direct client's process or the adapter's. The machine's other work hardly
    touches it, while it scatters texts/s.
    """

    texts_per_second: list[float] = field(default_factory=list)
    cpu_microseconds: list[float] = field(default_factory=list)


Cells = dict[tuple[str, int, int], Cell]
"""By subject, texts of a request, requests at a time."""


def measure_embeddings(
    folder: Path,
    rounds: int,
    notify: Callable[[str], None],
    shapes: Sequence[tuple[int, int]] = SHAPES,
    texts: int = TEXTS,
) -> Cells:
    """Both subjects take turns; the one that begins changes from round to round.

    Raises:
        WorkerFailed: a request failed, or brought other than one vector of length 1 per text.
    """
    cells: Cells = {}
    # The ensemble takes no more texts at a time than the encoder: the largest request has to fit.
    largest = max(64, *[batch for batch, _ in shapes])
    repository = repository_of(folder / "models", models.EMBEDDING, settings={"max_batch_size": largest})
    with ExitStack() as stack:
        triton = stack.enter_context(TritonServer([repository], folder / "triton", notify=notify))
        adapter = stack.enter_context(AdapterProcess(triton.grpc_url, folder / "adapter.log"))
        target = triton.grpc_url.removeprefix("grpc://")
        direct = stack.enter_context(Worker("tests.bench.embedding_load", DIRECT, target))
        load = stack.enter_context(Worker("tests.bench.embedding_load", ADAPTER, f"127.0.0.1:{adapter.port}"))
        subjects = [(DIRECT, direct, direct.pid), (ADAPTER, load, adapter.pid)]
        for _, worker, _ in subjects:  # warm-up
            worker.run(Run(streams=32, requests=4, tokens=1))
        for number in range(rounds):
            for batch, streams in shapes:
                run = Run(streams, max(1, -(-texts // (batch * streams))), batch)
                for name, worker, pid in subjects if number % 2 == 0 else subjects[::-1]:
                    before = cpu_seconds(pid)
                    rate = run.total / worker.run(run).seconds
                    cpu = (cpu_seconds(pid) - before) / (run.streams * run.requests) * 1e6
                    cell = cells.setdefault((name, batch, streams), Cell())
                    cell.texts_per_second.append(rate)
                    cell.cpu_microseconds.append(cpu)
                    notify(
                        f"round {number + 1}, batch {batch:3} x {streams:2}, {name:7}: "
                        f"{rate:6.0f} texts/s, {cpu:6.0f} us CPU/request"
                    )
    return cells


def embeddings_table(cells: Cells) -> str:
    """Medians over the rounds; the ratio is the median of each round's own."""
    lines = [
        "| batch | concurrency | direct texts/s | adapter texts/s | adapter : direct "
        "| direct client us/request | adapter us/request |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for batch, streams in sorted({(batch, streams) for _, batch, streams in cells}):
        direct, adapter = cells[DIRECT, batch, streams], cells[ADAPTER, batch, streams]
        rounds = zip(adapter.texts_per_second, direct.texts_per_second, strict=True)
        ratio = median(mine / other for mine, other in rounds)
        lines.append(
            f"| {batch} | {streams} | {median(direct.texts_per_second):,.0f} | {median(adapter.texts_per_second):,.0f} "
            f"| {ratio:.2f} | {median(direct.cpu_microseconds):,.0f} | {median(adapter.cpu_microseconds):,.0f} |"
        )
    return "\n".join(lines)
