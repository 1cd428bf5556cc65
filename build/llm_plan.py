"""The stages from a checkpoint to what Triton serves on a GPU, for one entry of the catalog.

tensorrt_llm       checkpoint -> weights (quantized or converted) -> engine; tokenizer; tokenizer_info
tensorrt_llm_api   checkpoint -> weights (if quantized); tokenizer
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from build.catalog import Catalog, CatalogError, ModelEntry
from build.draft_model import STAGE as DRAFT_STAGE
from build.draft_model import draft_entry, draft_stage
from build.estimate import kv_cache_dtype
from build.gpu_options import BuildOptions
from build.hf_checkpoint import COMPANIONS, CONFIG, INDEX, QUANTIZED, CheckpointError, check_files, read_object
from build.manifest import read_manifest
from build.stages import Stage
from build.tool_runner import ToolRunner
from build.tool_versions import tool_versions
from build.trtllm_commands import (
    TOKENIZER_INFO,
    build_command,
    built_seq_len,
    convert_command,
    is_quantized,
    max_num_tokens,
    paged_context_fmha,
    quantize_command,
    tokenizer_info_command,
)
from tokentext.files import TOKENIZER_FILES


@dataclass(frozen=True)
class Tools:
    """Where TensorRT-LLM's tools are.

    Args:
        examples: the folder `examples` of its source, with the scripts.
        container: image to run them in; empty: they are on PATH. image_id: of that image, once it is known.
    """

    examples: Path
    container: str = ""
    image_id: str = ""

    def versions(self) -> dict[str, str]:
        return tool_versions("tensorrt-llm", self.container, self.image_id)

    def runner(self, entry: ModelEntry, folders: tuple[Path, ...]) -> ToolRunner:
        return ToolRunner(self.container, f"tritongate-build-{entry.name}", folders)


def engines_folder(cache: Path) -> Path:
    """Where builds are unless a person says otherwise: a folder per Triton name."""
    return cache / "engines"


def llm_stages(
    entry: ModelEntry,
    folder: Path,
    tools: Tools,
    bring: Callable[[Path], None],
    facts: Mapping[str, str],
    draft: Path | None = None,
) -> list[Stage]:
    """The stages, in order.

    Args:
        entry: as it is built (`ModelEntry.for_gpu`). folder: of the build.
        bring: fills a folder with the checkpoint; `facts` identify it.
        draft: the build of its draft model, if it has one; it need not be there before the stages run.
    Raises:
        UnknownArchitectureError, CatalogError: there is no way from this entry to an engine.
    """
    assert entry.checkpoint is not None
    versions = tools.versions()
    checkpoint, weights = folder / "checkpoint", folder / "weights"
    needs: dict[str, tuple[str, ...]]
    stages = [Stage("checkpoint", facts=facts, fill=bring, verify=check_files, resumes=True)]
    if draft is not None:
        stages.append(draft_stage(entry, checkpoint, draft))
    compiled = entry.engine == "tensorrt_llm"
    if is_quantized(entry):
        command = quantize_command(entry, tools.examples, checkpoint)
        verify = _check_converted(entry) if compiled else _check_quantized
        # Calibration runs the model on texts, so the tokenizer takes part.
        needs = {"checkpoint": ("*",)}
        # What is served without being compiled brings its tokenizer along.
        fill = (lambda folder: None) if compiled else _companions_from(checkpoint)
        stages.append(Stage("weights", needs, commands=(command,), fill=fill, verify=verify, versions=versions))
    elif compiled:
        command = convert_command(entry, tools.examples, checkpoint)
        needs = {"checkpoint": (CONFIG, QUANTIZED, INDEX, "*.safetensors")}
        stages.append(Stage("weights", needs, commands=(command,), verify=_check_converted(entry), versions=versions))
    if compiled:
        _check_limits(entry)
        stages.append(
            Stage(
                "engine",
                {"weights": ("*",)},
                commands=(build_command(entry, weights),),
                verify=_check_engine(entry),
                versions=versions,
            )
        )
    stages.append(Stage("tokenizer", {"checkpoint": TOKENIZER_FILES}, fill=_tokenizer_from(checkpoint)))
    if compiled:
        texts = tuple(name for name in COMPANIONS if name != INDEX)
        command = tokenizer_info_command(tools.examples, checkpoint)
        stages.append(
            Stage(
                "tokenizer_info",
                {"checkpoint": texts},
                commands=(command,),
                verify=_check_tokenizer_info,
                versions=versions,
            )
        )
    return stages


def manifest_facts(entry: ModelEntry) -> dict[str, object]:
    """What the manifest keeps of the entry, for `finished_entry`."""
    return {
        "id": entry.id,
        "engine": entry.engine,
        "quantization": entry.quantization,
        "context_length": entry.context_length,
        "build": asdict(entry.build),
    }


def finished_entry(entry: ModelEntry, work: Path) -> ModelEntry:
    """The entry with the folders of its finished build, and the limits that it was built with.

    Raises:
        CatalogError: it is not built, or not to its end.
        ManifestError: the manifest cannot be read.
    """
    folder = work / entry.name
    manifest = read_manifest(folder)
    facts, last = manifest.model, {"tensorrt_llm": "tokenizer_info", "tensorrt_llm_api": "tokenizer"}
    needed = [last.get(str(facts.get("engine"))), *([DRAFT_STAGE] if facts.get("build", {}).get("draft") else [])]
    if facts.get("id") != entry.id or not manifest.finished or not manifest.stages.keys() >= set(needed):
        raise CatalogError(f"{entry.id}: is not built in {folder}: python build/llm_engine.py {entry.id}")
    engine = str(facts["engine"])
    served = "engine" if engine == "tensorrt_llm" else "weights" if "weights" in manifest.stages else "checkpoint"
    build = TypeAdapter(BuildOptions).validate_python(facts["build"])
    if build.draft != entry.build.draft:
        raise CatalogError(
            f"{entry.id}: build.draft: is {entry.build.draft or 'none'}, the build in {folder} is one for "
            f"{build.draft or 'none'}: python build/llm_engine.py {entry.id}"
        )
    built = entry.replaced(engine=engine, settings=entry.settings if engine == entry.engine else {}, build=build)
    settings = dict(built.settings)
    if engine == "tensorrt_llm":
        settings["max_batch_size"] = build.max_batch_size
        settings["enable_chunked_context"] = build.chunked_context
        settings["enable_kv_cache_reuse"] = bool(settings["enable_kv_cache_reuse"]) and paged_context_fmha(built)
    info = folder / "tokenizer_info" / TOKENIZER_INFO
    return replace(
        built,
        engine_dir=folder / served,
        tokenizer_dir=folder / "tokenizer",
        tokenizer_info=info if engine == "tensorrt_llm" else None,
        context_length=facts["context_length"],
        settings=settings,
    )


def finished_draft(entry: ModelEntry, catalog: Catalog, work: Path) -> ModelEntry:
    """The draft model of a finished entry that has one, with the folders of its finished build.

    Raises:
        CatalogError: it is not built, or no longer in the catalog.
        ManifestError: its manifest cannot be read.
    """
    draft = draft_entry(entry, catalog)
    try:
        return finished_entry(draft, work)
    except CatalogError:
        raise CatalogError(
            f"{entry.id}: its draft model is not built in {work / draft.name}: python build/llm_engine.py {entry.id}"
        ) from None


def _check_limits(entry: ModelEntry) -> None:
    for wanted, option in ((entry.build.chunked_context, "chunked_context"), (entry.build.draft, "draft")):
        if wanted and not paged_context_fmha(entry):
            raise CatalogError(
                f"{entry.id}: build.{option}: not over a cache of {kv_cache_dtype(entry)} beside {entry.quantization} "
                "weights; kv_cache_dtype fp8 goes with fp8 and nvfp4, auto with all"
            )
    if not entry.build.chunked_context and entry.build.max_num_tokens < entry.context_length:
        raise CatalogError(
            f"{entry.id}: build.max_num_tokens: {entry.build.max_num_tokens} is less than a prompt may have "
            f"({entry.context_length}); without chunked_context it is computed in one step"
        )


def _check_converted(entry: ModelEntry) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        mapping = read_object(folder / CONFIG).get("mapping", {})
        wanted = {"tp_size": entry.build.tensor_parallel, "pp_size": entry.build.pipeline_parallel}
        for key, value in wanted.items():
            if mapping.get(key, 1) != value:
                raise CheckpointError(f"{folder / CONFIG}: mapping.{key} is {mapping.get(key)}; {value} was asked for")
        _check_ranks(folder, "rank{}.safetensors", entry.build.world_size)

    return check


def _check_engine(entry: ModelEntry) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        config = read_object(folder / CONFIG)
        built = config.get("build_config", {})
        wanted = {
            "max_batch_size": entry.build.max_batch_size,
            "max_seq_len": built_seq_len(entry),
            "max_num_tokens": max_num_tokens(entry),
        }
        for key, value in wanted.items():
            if built.get(key) != value:
                raise CheckpointError(
                    f"{folder / CONFIG}: build_config.{key} is {built.get(key)}; {value} was asked for"
                )
        _check_ranks(folder, "rank{}.engine", entry.build.world_size)

    return check


def _check_ranks(folder: Path, name: str, count: int) -> None:
    for rank in range(count):
        path = folder / name.format(rank)
        if not path.is_file() or not path.stat().st_size:
            raise CheckpointError(f"{path} is missing or empty, though the tool ended well")


def _check_quantized(folder: Path) -> None:
    """A checkpoint that ModelOpt has written; TensorRT-LLM reads the format from `hf_quant_config.json`."""
    found = read_object(folder / QUANTIZED).get("quantization")
    if not isinstance(found, Mapping) or not (found.get("quant_algo") or found.get("kv_cache_quant_algo")):
        raise CheckpointError(f"{folder / QUANTIZED}: quantization.quant_algo is missing")
    check_files(folder)


def _check_tokenizer_info(folder: Path) -> None:
    """The keys that TensorRT-LLM's C++ backend reads."""
    path = folder / TOKENIZER_INFO
    content = read_object(path)
    for key, kind in (("encoded_vocab", list), ("tokenizer_str", str), ("stop_token_ids", list)):
        if not isinstance(content.get(key), kind):
            raise CheckpointError(f"{path}: {key} is missing")


def _companions_from(checkpoint: Path) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        for name in COMPANIONS:
            if name not in (CONFIG, INDEX, QUANTIZED) and (checkpoint / name).is_file():
                shutil.copyfile(checkpoint / name, folder / name)

    return fill


def _tokenizer_from(checkpoint: Path) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        for name in TOKENIZER_FILES:
            source = checkpoint / name
            if name == "tokenizer.json":
                # Truncation and padding that a training script left there would cut and pad texts without a word.
                content = {**read_object(source), "truncation": None, "padding": None}
                (folder / name).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
            elif source.is_file():
                shutil.copyfile(source, folder / name)

    return fill
