#!/usr/bin/env python3
"""From an embedding model of the catalog to a GPU: `python build/embedding_engine.py MODEL_ID --output REPOSITORY`.

A TensorRT plan with dynamic shapes, checked against the CPU graph; or, with `--provider cuda`, the ONNX graph itself
by ONNX Runtime on the GPU, for which nothing is compiled. docs/build.md says when to take which.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

if __package__ in (None, ""):  # run as a script: the folder above holds the package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import typer

from build.assemble import BUILD_ERRORS, add_entry
from build.catalog import CATALOG, CatalogError, ModelEntry, load_catalog
from build.command import print_stages, resumable, say
from build.embedding_plan import (
    PRECISIONS,
    PlanError,
    default_precision,
    embedding_stages,
    finished_plan,
    plan_facts,
)
from build.fetch import cache_folder, fetch
from build.llm_plan import engines_folder
from build.onnx_graph import GRAPH
from build.parts import make_parts
from build.stages import build_lock, run_stages
from build.tool_runner import ToolError, ToolRunner
from build.trtllm_commands import installed_version

ERRORS = (*BUILD_ERRORS, PlanError, ToolError, OSError)

app = typer.Typer(add_completion=False)


@app.command()
def build(
    model: Annotated[str, typer.Argument(metavar="MODEL_ID", help="an embedding model of the catalog")],
    output: Annotated[Path | None, typer.Option(help="the Triton repository to add it to; none: build only")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the commands, do nothing")] = False,
    provider: Annotated[str, typer.Option(help="cuda: no plan, ONNX Runtime on the GPU")] = "",
    precision: Annotated[str, typer.Option(help="fp16, bf16 or fp32 [fp16; T5: bf16]")] = "",
    max_batch_size: Annotated[int, typer.Option(min=0, help="texts computed together [the catalog's]")] = 0,
    catalog: Annotated[Path, typer.Option(help="another catalog file")] = CATALOG,
    work: Annotated[Path | None, typer.Option(help="folder of the builds [cache/engines]")] = None,
    container: Annotated[str, typer.Option(help="image to run trtexec in, with docker")] = "",
    copy: Annotated[bool, typer.Option("--copy", help="copy into the repository instead of linking")] = False,
    root: Annotated[Path | None, typer.Option(help="the repository as Triton will see it")] = None,
) -> None:
    """Builds an embedding model for a GPU and adds it to a Triton repository."""
    cache = cache_folder()
    work = work.absolute() if work else engines_folder(cache)
    with resumable(ERRORS):
        entry = _entry(load_catalog(catalog).get(model), provider, max_batch_size)
        if precision not in ("", *PRECISIONS):
            raise CatalogError(f"--precision: {precision}; known: {', '.join(PRECISIONS)}")
        if entry.engine == "tensorrt":
            runner = ToolRunner(container, f"tritongate-build-{entry.name}", (work, cache))
            if dry_run:
                _show(entry, work, runner, precision or ("bf16" if entry.family == "t5" else "fp16"))
            else:
                entry = _build(entry, work, cache, runner, precision)
        if dry_run:
            print(f"assemble: {output.absolute() if output else 'not asked for (--output DIR)'}")
        elif output is not None:
            add_entry(entry, output, cache, say, copy=copy, root=root)
            print(output.absolute())


def _entry(entry: ModelEntry, provider: str, max_batch_size: int) -> ModelEntry:
    """The entry as it is to be built.

    Raises:
        CatalogError: no embedding model, or another provider.
    """
    if entry.kind != "embedding":
        raise CatalogError(f"{entry.id}: is a {entry.kind} model; this builds embedding models")
    if provider not in ("", "cuda"):
        raise CatalogError(f"--provider: {provider}; cuda is known. On a CPU: python build/assemble.py")
    shared = ("max_batch_size", "max_queue_size", "max_queue_delay_microseconds")
    settings = {key: entry.settings[key] for key in shared}
    settings["max_batch_size"] = max_batch_size or settings["max_batch_size"]
    if provider:
        return replace(entry, engine="onnxruntime", settings={**settings, "provider": provider})
    return replace(entry, engine="tensorrt", settings=settings)


def _show(entry: ModelEntry, work: Path, runner: ToolRunner, precision: str) -> None:
    """Prints what a build would do; fetches nothing."""
    folder = work / entry.name
    stages = embedding_stages(entry, folder, {}, 2, precision, {})
    print(f"{entry.id}: tensorrt, {precision}, in {folder}")
    print_stages(stages, folder, runner)


def _build(entry: ModelEntry, work: Path, cache: Path, runner: ToolRunner, precision: str) -> ModelEntry:
    """The entry with its plan."""
    from onnx import load_model

    files = fetch(entry, cache, notify=say)
    graph = dict(make_parts(entry, files, cache).weights)
    facts = {item.key: item.value for item in load_model(graph[GRAPH], load_external_data=False).metadata_props}
    precision = precision or default_precision(files["config.json"])
    folder = work / entry.name
    versions = {"container": runner.container} if runner.container else {"tensorrt": installed_version("tensorrt")}
    stages = embedding_stages(entry, folder, graph, int(facts["vocab_size"]), precision, versions)
    with build_lock(folder, say):
        run_stages(folder, stages, runner, say, plan_facts(entry, precision))
    print(folder)
    return finished_plan(entry, work)


def main() -> None:
    """The command."""
    app()


if __name__ == "__main__":
    main()
