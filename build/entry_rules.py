"""What the parts of a catalog entry must be to each other: engine, files, folders, options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from build.engine_settings import GPU_ENGINES
from build.gpu_options import BuildOptions
from build.lora_adapters import lora_mismatches

if TYPE_CHECKING:
    from build.catalog import ModelEntry

# Of what is free on a GPU, the part that the caches of two engines may ask for together: each takes its fraction of
# what it finds when it loads, and Triton loads them in no certain order.
MOST_OF_A_GPU = 0.8


def mismatches(entry: ModelEntry) -> list[str]:
    """What the engine needs and the entry lacks, or holds in vain."""
    problems = lora_mismatches(entry)
    count = len(entry.of_role("weights"))
    folders = ("engine_dir", "tokenizer_dir")
    if entry.engine in GPU_ENGINES:
        if entry.files:
            problems.append("files: an engine for a GPU is built; set checkpoint, or engine_dir and tokenizer_dir")
        if entry.checkpoint is None or any(getattr(entry, key) for key in folders):
            problems += [f"{key}: missing" for key in folders if getattr(entry, key) is None]
    else:
        given = ("tokenizer_dir", "tokenizer_info", *(() if entry.engine == "tensorrt" else ("engine_dir",)))
        problems += [f"{key}: only for {', '.join(GPU_ENGINES)}" for key in given if getattr(entry, key)]
        suffix = ".gguf" if entry.engine == "llama_cpp" else ".safetensors"
        if count != 1 or not entry.weights.name.endswith(suffix):
            problems.append(f"files: exactly one file of role weights, a {suffix}, is needed")
    names = {file.name for file in entry.files}
    if entry.of_role("tokenizer") and "tokenizer.json" not in names:
        problems.append("files: the tokenizer's files lack tokenizer.json")
    dense = entry.of_role("dense")
    if dense and (entry.kind != "embedding" or len(dense) > 1 or not dense[0].name.endswith(".safetensors")):
        problems.append("files: role dense: one .safetensors, of an embedding model")
    if entry.kind == "embedding":
        if not entry.dimensions:
            problems.append("dimensions: missing")
    elif entry.dimensions or entry.matryoshka or entry.pooling != "mean":
        problems.append("dimensions, matryoshka, pooling: only for embedding models")
    if entry.kind != "reranker" and entry.score_activation:
        problems.append("score_activation: only for rerankers")
    if entry.checkpoint is not None and entry.kind != "chat":
        problems.append("checkpoint: only for chat models")
    if entry.checkpoint and entry.checkpoint.quantization and entry.build.engine == "tensorrt_llm":
        problems.append("checkpoint.quantization: the compiler takes no quantized checkpoint; tensorrt_llm_api does")
    if entry.checkpoint is None and entry.build != BuildOptions():
        problems.append("build: there is no checkpoint to build from")
    problems += _draft(entry)
    if entry.kind != "chat":
        problems += [f"files: {name} is missing" for name in ("config.json", "tokenizer.json") if name not in names]
        if entry.fim:
            problems.append("fim: only for chat models")
    projectors = entry.of_role("mmproj")
    if len(entry.modalities) > 1 and entry.engine != "llama_cpp":
        problems += _without_projector(entry)
    elif len(entry.modalities) > 1 and (len(projectors) != 1 or not projectors[0].name.endswith(".gguf")):
        problems.append("files: for images or audio exactly one file of role mmproj, a .gguf, is needed")
    elif projectors and len(entry.modalities) == 1:
        problems.append("modalities: a file of role mmproj is there, but text is all that the model takes")
    return problems


def _draft(entry: ModelEntry) -> list[str]:
    """What a model that is built with a draft model needs."""
    if not entry.build.draft or entry.engine != entry.build.engine:
        return []
    problems = []
    if entry.engine == "tensorrt_llm":
        settings = entry.settings
        fractions = [float(settings[f"{part}kv_cache_free_gpu_mem_fraction"]) for part in ("", "draft_")]
        shared = settings["draft_gpu_device_ids"] in ("", settings["gpu_device_ids"])
        if shared and round(sum(fractions), 6) > MOST_OF_A_GPU:
            problems.append(
                f"settings.kv_cache_free_gpu_mem_fraction: {fractions[0]} leaves too little of the GPUs to the draft "
                f"model: with draft_kv_cache_free_gpu_mem_fraction at most {MOST_OF_A_GPU}, or draft_gpu_device_ids"
            )
        if settings["draft_gpu_device_ids"] and entry.build.world_size > 1:
            problems.append("settings.draft_gpu_device_ids: only where one GPU serves the model; several serve both")
        if not settings["enable_kv_cache_reuse"]:
            problems.append("settings.enable_kv_cache_reuse: a draft is checked over the cache of the tokens before it")
    return problems


def _without_projector(entry: ModelEntry) -> list[str]:
    """What else than text an entry is to take whose engine opens no projector's file."""
    if entry.engine == "tensorrt_llm_api":
        return ["modalities: tensorrt_llm_api takes text and images only"] if "audio" in entry.modalities else []
    if entry.engine == "tensorrt_llm":
        return [
            "modalities: tensorrt_llm takes text only: TensorRT-LLM has given up images for compiled engines with "
            "release 1.2; tensorrt_llm_api takes them"
        ]
    return [f"modalities: {entry.engine} takes text only"]
