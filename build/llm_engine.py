#!/usr/bin/env python3
"""From a catalog entry to a served engine on a GPU: `python build/llm_engine.py MODEL_ID[:QUANTIZATION]`.

Download, quantize or convert, compile, tokenizer facts, assemble. What has been made is not made again; after a break
it goes on from there. `--dry-run` prints the estimate and the exact commands, and does nothing. More: docs/build.md.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

if __package__ in (None, ""):  # run as a script: the folder above holds the package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import typer

from build.assemble import BUILD_ERRORS, prepare
from build.catalog import CATALOG, CatalogError, ModelEntry, load_catalog
from build.command import manifest_before, print_stages, resumable, say
from build.draft_estimate import to_fit
from build.draft_model import draft_entry
from build.engine_settings import GPU_ENGINES
from build.estimate import DoesNotFitError, check_disk, check_gpus, estimate, report
from build.gpu_options import Checkpoint
from build.gpus import Gpu, GpuError, serving_gpus
from build.hf_checkpoint import CheckpointError
from build.hub import Hub
from build.hub_checkpoint import FoundCheckpoint, bring_checkpoint, find_checkpoint, known_checkpoint
from build.llm_plan import Tools, engines_folder, llm_stages, manifest_facts
from build.manifest import Manifest
from build.stages import Stage, build_lock, run_stages
from build.tool_runner import ToolError
from build.tool_versions import bring_image
from build.transfer import FetchError, Notify
from build.trtllm_commands import EXAMPLES, UnknownArchitectureError
from tokentext.cache import cache_folder

ERRORS = (
    *BUILD_ERRORS,
    CheckpointError,
    DoesNotFitError,
    GpuError,
    ToolError,
    UnknownArchitectureError,
    OSError,
)

app = typer.Typer(add_completion=False)


@app.command()
def build(
    model: Annotated[str, typer.Argument(metavar="MODEL_ID[:QUANTIZATION]", help="an id of the catalog")],
    output: Annotated[Path | None, typer.Option(help="the Triton repository to add it to; none: build only")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the estimate and the commands, do nothing")] = False,
    engine: Annotated[str, typer.Option(help="tensorrt_llm or tensorrt_llm_api, in place of the catalog's")] = "",
    catalog: Annotated[Path, typer.Option(help="another catalog file")] = CATALOG,
    work: Annotated[Path | None, typer.Option(help="folder of the builds [cache/engines]")] = None,
    container: Annotated[str, typer.Option(help="image to run TensorRT-LLM's tools in, with docker")] = "",
    examples: Annotated[Path, typer.Option(envvar="TRTLLM_EXAMPLES", help="TensorRT-LLM's examples")] = EXAMPLES,
    gpu_memory: Annotated[
        float, typer.Option(min=0, help="GiB of each GPU that will serve, if not this machine's")
    ] = 0,
    max_seq_len: Annotated[int, typer.Option(min=0, help="tokens of prompt and answer [the catalog's]")] = 0,
    max_batch_size: Annotated[int, typer.Option(min=0, help="answers in one step [the catalog's]")] = 0,
    max_num_tokens: Annotated[int, typer.Option(min=0, help="tokens in one step [the catalog's]")] = 0,
    tensor_parallel: Annotated[int, typer.Option(min=0, help="GPUs that share each layer [the catalog's]")] = 0,
    pipeline_parallel: Annotated[int, typer.Option(min=0, help="groups of GPUs that share the layers")] = 0,
    copy: Annotated[bool, typer.Option("--copy", help="copy into the repository instead of linking")] = False,
    root: Annotated[Path | None, typer.Option(help="the repository as Triton will see it")] = None,
) -> None:
    """Builds an engine for a GPU and adds it to a Triton repository."""
    changes = {
        "engine": engine,
        "max_batch_size": max_batch_size,
        "max_num_tokens": max_num_tokens,
        "tensor_parallel": tensor_parallel,
        "pipeline_parallel": pipeline_parallel,
    }
    cache = cache_folder()
    work = work.absolute() if work else engines_folder(cache)
    with resumable(ERRORS):
        given = {key: value for key, value in changes.items() if value}
        known = load_catalog(catalog)
        entry = known.get(model)
        if (given or max_seq_len) and (entry.engine not in GPU_ENGINES or entry.engine_dir is not None):
            raise CatalogError(f"{entry.id}: nothing is built for it, so its limits are those of the catalog")
        entry = entry.changed(given, max_seq_len)
        if entry.engine in GPU_ENGINES and entry.engine_dir is None:
            draft = draft_entry(entry, known) if entry.build.draft else None
            tools = Tools(examples, container)
            gpus = serving_gpus(gpu_memory, max(each.build.world_size for each in (entry, draft or entry)))
            if dry_run:
                _show(entry, draft, work, tools, gpus)
            else:
                _build_all(entry, draft, work, cache, tools, gpus)
        elif dry_run:
            print(f"{entry.id}: {entry.engine}, nothing is compiled; its files are fetched and assembled")
        if dry_run:
            print(f"assemble: {output.absolute() if output else 'not asked for (--output DIR)'}")
        elif output is not None:
            prepare([model], output, cache, say, catalog=catalog, copy=copy, root=root, keep=True, work=work)
            print(output.absolute())


def _show(entry: ModelEntry, draft: ModelEntry | None, work: Path, tools: Tools, gpus: tuple[Gpu, ...]) -> None:
    """Prints what a build would do; asks no network."""
    models = [each for each in (draft, entry) if each is not None]
    for each in models:
        print(f"{each.id}: {each.engine}, {each.quantization}, from {each.checkpoint}, in {work / each.name}")
    _report(entry, draft, gpus, print)
    for each in models:
        folder = work / each.name
        theirs = work / draft.name if draft and each is entry else None
        stages = llm_stages(each, folder, tools, lambda path: None, {}, theirs)
        print_stages(stages, folder, tools.runner(each, _folders(each, work)))
    sys.stdout.flush()
    if gpus:
        _check_gpus(entry, draft, gpus)
    else:
        print("whether a GPU holds it is not known: there is no nvidia-smi (--gpu-memory GIB)")
    check_disk(work, sum(estimate(each).disk for each in models))


def _build_all(
    entry: ModelEntry, draft: ModelEntry | None, work: Path, cache: Path, tools: Tools, gpus: tuple[Gpu, ...]
) -> None:
    _report(entry, draft, gpus, say)
    if not gpus:
        raise DoesNotFitError("there is no nvidia-smi here: --gpu-memory GIB says what the serving GPUs have")
    _check_gpus(entry, draft, gpus)
    if tools.container:
        tools = replace(tools, image_id=bring_image(tools.container, say))
    if draft is not None:
        _build(draft, work, cache, tools, None)
    _build(entry, work, cache, tools, work / draft.name if draft else None)
    print(work / entry.name)


def _report(entry: ModelEntry, draft: ModelEntry | None, gpus: tuple[Gpu, ...], notify: Notify) -> None:
    for model, found in to_fit(entry, draft):
        if draft is not None:
            notify(f"{model.id}:" if model is draft else f"{model.id}, with its draft model if on the same GPUs:")
        for line in report(model, found, gpus):
            notify(line)


def _check_gpus(entry: ModelEntry, draft: ModelEntry | None, gpus: tuple[Gpu, ...]) -> None:
    for model, found in to_fit(entry, draft):
        check_gpus(model, found, gpus)


def _build(entry: ModelEntry, work: Path, cache: Path, tools: Tools, draft: Path | None) -> None:
    """Builds one model; `draft` is the finished build of its draft model."""
    assert entry.checkpoint is not None
    found, folder, hub = estimate(entry), work / entry.name, Hub()
    with build_lock(folder, say):
        before = manifest_before(folder, entry.id)
        checkpoint = _checkpoint(entry.checkpoint, before, hub)
        stages = _stages(entry, folder, tools, checkpoint, cache, hub, draft)
        made = before.stages.keys()
        download = 0 if "checkpoint" in made else checkpoint.missing_bytes(cache)
        there = (found.converted if "weights" in made else 0) + (found.engine if "engine" in made else 0)
        check_disk(folder, max(0, download + found.converted + found.engine - there))
        run_stages(folder, stages, tools.runner(entry, _folders(entry, work)), say, manifest_facts(entry))


def _checkpoint(wanted: Checkpoint, before: Manifest, hub: Hub) -> FoundCheckpoint:
    """Which files the checkpoint has. Without the hub a build can still go on with what it fetched before."""
    try:
        return find_checkpoint(wanted, hub)
    except FetchError as error:
        known = known_checkpoint(wanted, before.stages.get("checkpoint"))
        if known is None:
            raise
        say(f"{error}: going on with commit {known.commit}, which is here")
        return known


def _stages(
    entry: ModelEntry,
    folder: Path,
    tools: Tools,
    checkpoint: FoundCheckpoint,
    cache: Path,
    hub: Hub,
    draft: Path | None,
) -> list[Stage]:
    def bring(target: Path) -> None:
        bring_checkpoint(checkpoint, target, cache, hub, say)

    return llm_stages(entry, folder, tools, bring, checkpoint.facts(), draft)


def _folders(entry: ModelEntry, work: Path) -> tuple[Path, ...]:
    """What the tools must see: the build, the cache that its files are links into, a person's own checkpoint.

    The files of the last may be links themselves, as in a snapshot of Hugging Face's cache.
    """
    own = entry.checkpoint.path if entry.checkpoint else None
    places = {own.resolve(), *(path.resolve().parent for path in own.glob("*"))} if own else set()
    return tuple(dict.fromkeys([work, cache_folder(), *sorted(places)]))


def main() -> None:
    """The command."""
    app()


if __name__ == "__main__":
    main()
