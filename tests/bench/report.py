"""The table, and the same figures as JSON."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.measure import ADAPTER, BARE, PROXY, RESPONSES, Results

PACKAGES = ("tritonclient", "grpcio", "uvicorn", "uvloop", "fastapi", "openai", "numpy", "nvidia-pytriton")


def machine() -> str:
    """Cores, processor, Python and the packages that matter, on one line."""
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"{len(os.sched_getaffinity(0))} cores ({processor()}), Python {platform.python_version()}, {packages}"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def streams_of(results: Results) -> list[int]:
    return sorted({count for _, count in results.cells})


def table(results: Results) -> str:
    """Medians over the rounds; ratios are medians of each round's own ratio."""
    subjects = [name for name in (BARE, PROXY, ADAPTER, RESPONSES) if name in results.first_token]
    ratios = [other for other in (BARE, PROXY) if ADAPTER in subjects]
    head = ["streams"]
    head += [f"{name} tokens/s" for name in subjects] + [f"{name} us/token" for name in subjects]
    if RESPONSES in subjects:
        head.append("CPU responses : bare client")
    head += [f"CPU adapter : {other}" for other in ratios] + [f"tokens/s adapter : {other}" for other in ratios]
    rows = []
    for count in streams_of(results):
        cells = {name: results.cells[name, count] for name in subjects}
        row = [str(count)]
        row += [f"{cells[name].rate():,.0f}" for name in subjects] + [f"{cells[name].cpu():.1f}" for name in subjects]
        if RESPONSES in subjects:
            used = cells[RESPONSES].cpu_microseconds
            row.append(f"{ratio(used, cells[BARE].cpu_microseconds):.2f}")
        for values in ("cpu_microseconds", "tokens_per_second"):
            row += [f"{ratio(getattr(cells[ADAPTER], values), getattr(cells[other], values)):.2f}" for other in ratios]
        rows.append(row)
    return _aligned([head, *rows])


def first_token_line(results: Results) -> str:
    """Time to first token, one request at a time; the difference is the median of each round's own."""
    parts = [f"{name} {median(values):.2f} ms" for name, values in results.first_token.items()]
    line = "time to first token, one request at a time: " + ", ".join(parts)
    if ADAPTER in results.first_token:
        pairs = zip(results.first_token[ADAPTER], results.first_token[BARE], strict=True)
        line += f"; adapter - bare client {median(adapter - bare for adapter, bare in pairs):+.2f} ms"
    return line


def ratio(values: Iterable[float], to: Iterable[float]) -> float:
    return median(value / other for value, other in zip(values, to, strict=True))


def as_json(results: Results, options: dict[str, Any]) -> dict[str, Any]:
    cells = [
        {
            "subject": name,
            "streams": count,
            "tokens_per_second": cell.tokens_per_second,
            "cpu_microseconds_per_token": cell.cpu_microseconds,
        }
        for (name, count), cell in results.cells.items()
    ]
    return {"machine": machine(), "options": options, "cells": cells, "first_token_ms": results.first_token}


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join([cell.rjust(width) for cell, width in zip(row, widths, strict=True)]) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join(["-" * (width + 1) + ":" for width in widths]) + "|")
    return "\n".join(lines)
