"""LoRA adapters of a catalog entry: what an engine needs of each, and where it finds them in the repository."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, StrictStr, StringConstraints, field_validator
from pydantic.dataclasses import dataclass

if TYPE_CHECKING:
    from build.catalog import ModelEntry

FOLDER = "lora"  # of the engine's folder in the repository
# What each engine reads of an adapter's folder. TensorRT-LLM: `hf_lora_convert.py` writes both, with a leading
# dimension of 1; the engine reads them at its start (`lora_prefetch_dir`) from a folder named by the task id.
_FILES = {
    "tensorrt_llm": ("model.lora_config.npy", "model.lora_weights.npy"),
    "tensorrt_llm_api": ("adapter_config.json", "adapter_model.safetensors"),
}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LoraAdapter:
    """One adapter; clients name it `ID_OF_THE_MODEL:NAME`.

    file: for llama.cpp: name of the entry's file of role `lora`, a GGUF.
    folder: for GPU engines: on this machine.
    scale: factor of what it adds to the model; llama.cpp only, GPU engines take that of the adapter's configuration.
    """

    name: Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
    file: StrictStr = ""
    folder: Path | None = None
    scale: float = field(default=1.0)

    @field_validator("scale")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("a finite number is needed")
        return value


def lora_mismatches(entry: ModelEntry) -> list[str]:
    """What the adapters lack for the entry's engine."""
    problems = []
    names = [adapter.name for adapter in entry.loras]
    if len(set(names)) != len(names):
        problems.append("loras: two of the same name")
    if entry.loras and entry.kind != "chat":
        problems.append("loras: only for chat models")
    files = {file.name for file in entry.of_role("lora")}
    for adapter in entry.loras:
        if entry.engine == "llama_cpp":
            if adapter.file not in files or not adapter.file.endswith(".gguf"):
                problems.append(f"loras: {adapter.name}: file: the name of a file of role lora, a .gguf, is needed")
        elif adapter.folder is None:
            problems.append(f"loras: {adapter.name}: folder: missing")
    if unused := files - {adapter.file for adapter in entry.loras}:
        problems.append(f"loras: none of them is in {', '.join(sorted(unused))}")
    if entry.loras and entry.engine == "tensorrt_llm" and entry.checkpoint and not entry.build.lora_modules:
        problems.append("build.lora_modules: missing: which modules the engine takes LoRA weights for")
    return problems


def lora_files(entry: ModelEntry, files: Mapping[str, Path]) -> dict[str, Path]:
    """Every adapter's files, by their place in the engine's folder. Task ids are 1, 2, ... in the entry's order.

    Args:
        files: the entry's fetched files, by name.
    Raises:
        FileNotFoundError: a folder lacks what the engine reads of it.
    """
    found: dict[str, Path] = {}
    for task, adapter in enumerate(entry.loras, 1):
        if entry.engine == "llama_cpp":
            found[f"{FOLDER}/{task}/{adapter.file}"] = files[adapter.file]
            continue
        assert adapter.folder is not None  # the catalog's reader sees to it
        for name in _FILES[entry.engine]:
            if not (adapter.folder / name).is_file():
                raise FileNotFoundError(f"{entry.id}: loras: {adapter.name}: there is no {name} in {adapter.folder}")
            found[f"{FOLDER}/{task}/{name}"] = adapter.folder / name
    return found


def lora_parameter(entry: ModelEntry, folder: Path) -> str:
    """`lora_adapters` of the engine's configuration (docs/model_repository.md); "" without adapters.

    Args:
        folder: the engine's, as Triton will see it.
    """
    said: dict[str, dict[str, Any]] = {}
    digests = {file.name: file.sha256 for file in entry.of_role("lora")}
    for task, adapter in enumerate(entry.loras, 1):
        place = folder / FOLDER / str(task)
        if entry.engine == "llama_cpp":
            path, digest = str(place / adapter.file), digests[adapter.file]
            said[str(task)] = {"name": adapter.name, "path": path, "scale": adapter.scale, "sha256": digest}
        else:
            said[str(task)] = {"name": adapter.name, "path": str(place)}
    return json.dumps(said) if said else ""
