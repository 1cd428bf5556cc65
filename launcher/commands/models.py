"""`tritongate models`: what can be served, and what a Triton serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from build.catalog import ModelEntry, load_catalog
from build.fetch import cached
from launcher.commands.options import RemoteTriton
from launcher.served_models import ServedModels, list_served
from launcher.terminal import errors_told, say, show
from tokentext.cache import cache_folder

app = typer.Typer()


@app.command()
def models(triton: RemoteTriton = None) -> None:
    """List what can be served.

    These are the models of the catalog or, with --triton, those that a running Triton serves.
    Models marked * are served when `tritongate serve` is not told which.
    """
    with errors_told():
        if triton:
            show(served_table(list_served(triton)))
            return
        cache = cache_folder()
        show(catalog_table(load_catalog().entries, cache))
        say(f"\n* served by default. Weights are kept in {cache}; `tritongate serve` downloads what is missing.")


def catalog_table(entries: tuple[ModelEntry, ...], cache: Path) -> str:
    """A row per entry: id, kind, engine, size of its files, whether they are here."""
    rows = [("", "MODEL", "KIND", "ENGINE", "SIZE", "WEIGHTS")]
    for entry in entries:
        total = sum(file.size for file in entry.files)
        rows.append(
            (
                "*" if entry.default else "",
                entry.id,
                entry.kind,
                entry.engine,
                f"{total / 1e6:,.0f} MB" if total else "-",
                _weights(entry, cache),
            )
        )
    return table(rows)


def _weights(entry: ModelEntry, cache: Path) -> str:
    if not entry.files:
        return f"engine in {entry.engine_dir}" if entry.engine_dir else "build/llm_engine.py builds it, for a GPU"
    missing = sum(file.size for file in entry.files if not cached(file, cache))
    return f"{missing / 1e6:,.0f} MB to download" if missing else "downloaded"


def served_table(served: ServedModels) -> str:
    """A row per served model, then what Triton has besides."""
    rows = [("MODEL", "KIND", "FAMILY", "CONTEXT", "TRITON MODEL")]
    for model in served.models:
        rows.append((model.id, model.kind.value, model.family or "-", str(model.context_length), model.triton_name))
    lines = [f"Triton {served.version}", ""]
    lines += [table(rows) if served.models else "It serves no model that describes itself (served_model_id)."]
    lines += [f"cannot be served: {problem}" for problem in served.problems]
    if served.others:
        lines += ["", "Further Triton models: " + ", ".join(served.others)]
    return "\n".join(lines)


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
