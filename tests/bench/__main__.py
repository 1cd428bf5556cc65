"""`python -m tests.bench`; docs/performance.md says what the figures mean."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError
from tests.bench.embeddings import embeddings_table, measure_embeddings
from tests.bench.measure import measure, running
from tests.bench.report import as_json, first_token_line, machine, table
from tests.bench.worker import WorkerFailed
from tests.support.adapter_process import AdapterFailed


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="What the adapter costs per token.")
    parser.add_argument("--streams", type=whole_numbers, default=[1, 8, 32, 128], metavar="N,N", help="1,8,32,128")
    parser.add_argument("--tokens", type=whole_number, default=256, help="tokens of each answer (256)")
    parser.add_argument("--total", type=whole_number, default=8192, help="tokens of one run, at least (8192)")
    parser.add_argument("--rounds", type=whole_number, default=5, help="medians are over this many rounds (5)")
    parser.add_argument("--rate", type=float, default=0.0, help="tokens/s of each stream (0: as fast as it can)")
    parser.add_argument("--instances", type=whole_number, default=1, help="processes of the engine model (1)")
    parser.add_argument("--only", choices=["tokens", "embeddings"], help="one part of the bench (both)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single figure there")
    parser.add_argument("--quiet", action="store_true", help="only the result")
    return parser.parse_args(arguments)


def whole_number(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def whole_numbers(text: str) -> list[int]:
    return sorted({whole_number(part) for part in text.split(",")})


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 1 when a stream did not bring exactly what was asked for, or something failed to start."""
    options = parsed(arguments)

    def notify(line: str) -> None:
        if not options.quiet:
            print(line, file=sys.stderr, flush=True)

    figures: dict[str, Any] = {}
    try:
        if options.only != "embeddings":
            figures = measure_tokens(options, notify)
        if options.only != "tokens":
            with tempfile.TemporaryDirectory(prefix="tritongate-bench-") as folder:
                cells = measure_embeddings(Path(folder), options.rounds, notify)
            print(embeddings_table(cells))
            figures["embeddings"] = [
                {"subject": name, "batch": batch, "concurrency": streams, **asdict(cell)}
                for (name, batch, streams), cell in cells.items()
            ]
    except (WorkerFailed, AdapterFailed, LauncherError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(machine())
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def measure_tokens(options: argparse.Namespace, notify: Callable[[str], None]) -> dict[str, Any]:
    """Prints the cost per token; returns every single figure."""
    with (
        tempfile.TemporaryDirectory(prefix="tritongate-bench-") as folder,
        running(Path(folder), options.rate, options.instances, notify) as subjects,
    ):
        results = measure(subjects, options.streams, options.tokens, options.total, options.rounds, notify)
    print(table(results))
    print(first_token_line(results))
    chosen = {name: value for name, value in vars(options).items() if name not in ("json", "quiet", "only")}
    return as_json(results, chosen)


if __name__ == "__main__":
    sys.exit(main())
