"""Embeddings per second: the adapter against the Triton ensemble called directly, in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from launcher.triton_server import TritonServer
from tests.bench.worker import Run, Worker
from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.own_models import repository_of

DIRECT, ADAPTER = "direct", "adapter"
SHAPES = ((1, 32), (32, 4), (256, 1))  # texts of a request, requests at a time
TEXTS = 1024  # of one run, at least

Rates = dict[tuple[str, int, int], list[float]]
"""(subject, texts of a request, requests at a time) -> texts/s, one per round."""


def measure_embeddings(
    folder: Path,
    rounds: int,
    notify: Callable[[str], None],
    shapes: Sequence[tuple[int, int]] = SHAPES,
    texts: int = TEXTS,
) -> Rates:
    """Both subjects take turns; the one that begins changes from round to round.

    Raises:
        WorkerFailed: a request failed, or brought other than one vector of length 1 per text.
    """
    rates: Rates = {}
    # The ensemble takes no more texts at a time than the encoder: the largest request has to fit.
    largest = max(64, *[batch for batch, _ in shapes])
    repository = repository_of(folder / "models", models.EMBEDDING, settings={"max_batch_size": largest})
    with ExitStack() as stack:
        triton = stack.enter_context(TritonServer([repository], folder / "triton", notify=notify))
        adapter = stack.enter_context(AdapterProcess(triton.grpc_url, folder / "adapter.log"))
        target = triton.grpc_url.removeprefix("grpc://")
        subjects = [
            (DIRECT, stack.enter_context(Worker("tests.bench.embedding_load", DIRECT, target))),
            (ADAPTER, stack.enter_context(Worker("tests.bench.embedding_load", ADAPTER, f"127.0.0.1:{adapter.port}"))),
        ]
        for _, worker in subjects:  # warm-up
            worker.run(Run(streams=4, requests=2, tokens=8))
        for number in range(rounds):
            for batch, streams in shapes:
                run = Run(streams, max(1, -(-texts // (batch * streams))), batch)
                for name, worker in subjects if number % 2 == 0 else subjects[::-1]:
                    rate = run.total / worker.run(run).seconds
                    rates.setdefault((name, batch, streams), []).append(rate)
                    notify(f"round {number + 1}, batch {batch:3} x {streams:2}, {name:7}: {rate:6.0f} texts/s")
    return rates


def embeddings_table(rates: Rates) -> str:
    """Medians over the rounds; the ratio is the median of each round's own."""
    lines = ["| batch | concurrency | direct texts/s | adapter texts/s | adapter : direct |", "|--:|--:|--:|--:|--:|"]
    for name, batch, streams in rates:
        if name != DIRECT:
            continue
        direct, adapter = rates[DIRECT, batch, streams], rates[ADAPTER, batch, streams]
        ratio = median(mine / other for mine, other in zip(adapter, direct, strict=True))
        lines.append(f"| {batch} | {streams} | {median(direct):,.0f} | {median(adapter):,.0f} | {ratio:.2f} |")
    return "\n".join(lines)
