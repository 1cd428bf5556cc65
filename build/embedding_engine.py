#!/usr/bin/env python3
"""From an embedding model of the catalog to a GPU: `python build/embedding_engine.py MODEL_ID --output REPOSITORY`.

A TensorRT plan with dynamic shapes; or, with `--provider cuda`, the ONNX graph itself by ONNX Runtime on the GPU, for
which nothing is compiled. Both are checked against the graph on the CPU. docs/build.md says when to take which.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

if __package__ in (None, ""):  # run as a script: the folder above holds the package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import typer

from build.assemble import BUILD_ERRORS, add_entry
from build.catalog import CATALOG, CatalogError, ModelEntry, load_catalog
from build.command import manifest_before, print_stages, resumable, say
from build.embedding_check import VectorsError
from build.embedding_cuda import PRECISION, cuda_facts, cuda_folder, cuda_stages
from build.embedding_estimate import (
    cached_config,
    check_embedding_disk,
    check_embedding_gpus,
    estimate_embedding,
    report_embedding,
)
from build.embedding_plan import (
    PRECISIONS,
    PlanError,
    default_precision,
    embedding_stages,
    finished_plan,
    plan_facts,
)
from build.estimate import DoesNotFitError
from build.fetch import fetch
from build.gpus import Gpu, GpuError, serving_gpus
from build.llm_plan import engines_folder
from build.onnx_graph import GRAPH
from build.parts import make_parts
from build.stages import Stage, build_lock, run_stages
from build.tool_runner import ToolError, ToolRunner
from build.tool_versions import bring_image, tool_versions
from tokentext.cache import cache_folder

ERRORS = (*BUILD_ERRORS, DoesNotFitError, GpuError, PlanError, ToolError, VectorsError, OSError)

app = typer.Typer(add_completion=False)


@app.command()
def build(
    model: Annotated[str, typer.Argument(metavar="MODEL_ID", help="an embedding model of the catalog")],
    output: Annotated[Path | None, typer.Option(help="the Triton repository to add it to; none: build only")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the estimate and the commands, do nothing")] = False,
    provider: Annotated[str, typer.Option(help="cuda: no plan, ONNX Runtime on the GPU")] = "",
    precision: Annotated[str, typer.Option(help="fp16, bf16 or fp32 [fp16; T5: bf16]")] = "",
    max_batch_size: Annotated[int, typer.Option(min=0, help="texts computed together [the catalog's]")] = 0,
    catalog: Annotated[Path, typer.Option(help="another catalog file")] = CATALOG,
    work: Annotated[Path | None, typer.Option(help="folder of the builds [cache/engines]")] = None,
    container: Annotated[str, typer.Option(help="image to run trtexec or ONNX Runtime in, with docker")] = "",
    gpu_memory: Annotated[float, typer.Option(min=0, help="GiB of the GPU that will serve, if not this machine's")] = 0,
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
        if provider and precision not in ("", PRECISION):
            raise CatalogError(f"--precision: {precision}; --provider {provider} computes in {PRECISION}")
        runner = ToolRunner(container, f"tritongate-build-{_folder(entry, work).name}", (work, cache))
        gpus = serving_gpus(gpu_memory, 1)
        if dry_run:
            _show(entry, work, cache, runner, precision, gpus)
        else:
            entry = _build(entry, work, cache, runner, precision, gpus)
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


def _show(
    entry: ModelEntry, work: Path, cache: Path, runner: ToolRunner, precision: str, gpus: tuple[Gpu, ...]
) -> None:
    """Prints what a build would do; fetches nothing."""
    folder, precision = _folder(entry, work), _precision(entry, cache, precision)
    stages = _stages(entry, folder, {}, 2, runner, precision)
    print(f"{entry.id}: {entry.engine}, {precision}, in {folder}")
    found = estimate_embedding(entry, cache, precision)
    for line in report_embedding(found, gpus):
        print(line)
    print_stages(stages, folder, runner)
    sys.stdout.flush()
    if gpus:
        check_embedding_gpus(entry, found, gpus, precision)
    else:
        print("whether a GPU holds it is not known: there is no nvidia-smi (--gpu-memory GIB)")
    check_embedding_disk(found, cache, work, {})


def _build(
    entry: ModelEntry, work: Path, cache: Path, runner: ToolRunner, precision: str, gpus: tuple[Gpu, ...]
) -> ModelEntry:
    """The entry as it is built, with its plan if it has one."""
    from onnx import load_model

    if not gpus:
        raise DoesNotFitError("there is no nvidia-smi here: --gpu-memory GIB says what the serving GPU has")
    folder = _folder(entry, work)
    with build_lock(folder, say):
        before = manifest_before(folder, entry.id)
        assumed = _fits(entry, work, cache, _precision(entry, cache, precision), gpus, before.stages)
        if runner.container:
            runner = replace(runner, image_id=bring_image(runner.container, say))
        files = fetch(entry, cache, notify=say)
        precision = _precision(entry, cache, precision)
        if assumed:
            _fits(entry, work, cache, precision, gpus, before.stages)
        graph = dict(make_parts(replace(entry, engine_dir=None), files, cache).weights)
        facts = {item.key: item.value for item in load_model(graph[GRAPH], load_external_data=False).metadata_props}
        stages = _stages(entry, folder, graph, int(facts["vocab_size"]), runner, precision)
        model = plan_facts(entry, precision) if entry.engine == "tensorrt" else cuda_facts(entry)
        run_stages(folder, stages, runner, say, model)
    print(folder)
    return finished_plan(entry, work) if entry.engine == "tensorrt" else entry


def _fits(
    entry: ModelEntry,
    work: Path,
    cache: Path,
    precision: str,
    gpus: tuple[Gpu, ...],
    made: Mapping[str, object],
) -> bool:
    """Says what it takes; whether some of that was assumed. Raises DoesNotFitError."""
    found = estimate_embedding(entry, cache, precision)
    for line in report_embedding(found, gpus):
        say(line)
    check_embedding_gpus(entry, found, gpus, precision)
    check_embedding_disk(found, cache, work, made)
    return not found.known


def _folder(entry: ModelEntry, work: Path) -> Path:
    return work / entry.name if entry.engine == "tensorrt" else cuda_folder(entry, work)


def _precision(entry: ModelEntry, cache: Path, asked: str) -> str:
    """What it computes in; before its `config.json` is here, the catalog's family tells of T5."""
    if entry.engine != "tensorrt":
        return PRECISION
    config = cached_config(entry, cache)
    return asked or (default_precision(config) if config else "bf16" if entry.family == "t5" else "fp16")


def _stages(
    entry: ModelEntry, folder: Path, graph: Mapping[str, Path], vocabulary: int, runner: ToolRunner, precision: str
) -> list[Stage]:
    if entry.engine != "tensorrt":
        return cuda_stages(entry, folder, graph, vocabulary, runner)
    versions = tool_versions("tensorrt", runner.container, runner.image_id)
    return embedding_stages(entry, folder, graph, vocabulary, precision, versions)


def main() -> None:
    """The command."""
    app()


if __name__ == "__main__":
    main()
