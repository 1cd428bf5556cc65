"""The stages from an embedding model's ONNX graph to a TensorRT plan whose vectors are held against the graph's.

    graph -> plan (trtexec, two optimisation profiles) -> check (trtexec with given inputs; ONNX Runtime on the CPU)

Options are those of TensorRT 10's `trtexec`, which NVIDIA's images bring along.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build.catalog import CatalogError, ModelEntry
from build.embedding_check import INPUTS, LONG, SHORT, Texts, VectorsError, checked_texts, compare
from build.embedding_graph import OUTPUT as VECTOR
from build.embedding_graph import read_encoder
from build.manifest import read_manifest
from build.onnx_graph import GRAPH
from build.parts import PLAN
from build.stages import OUTPUT, Stage
from build.t5_graph import T5Config
from build.transfer import sha256_of

SHORT_PROFILE = 64  # tokens of the first profile's texts; the second is for all lengths
PRECISIONS = ("fp16", "bf16", "fp32")


class PlanError(ValueError):
    """The compiler ended well and left no plan."""


def default_precision(config: Path) -> str:
    """`fp16`; for T5 `bf16`: its hidden states leave the range of FP16."""
    return "bf16" if isinstance(read_encoder(config), T5Config) else "fp16"


def embedding_stages(
    entry: ModelEntry,
    folder: Path,
    graph: Mapping[str, Path],
    vocabulary: int,
    precision: str,
    versions: dict[str, str],
) -> list[Stage]:
    """The stages, in order.

    Args:
        graph: the ONNX graph and its weights, by name. vocabulary: ids of the check are below it.
        precision: one of PRECISIONS.
    """
    # Each profile is a way of its own through the plan.
    profiles = tuple(enumerate(checked_texts(entry, vocabulary, longest) for longest in (SHORT, LONG)))

    def fill(output: Path) -> None:
        for _, texts in profiles:
            texts.write(output)

    def verify(output: Path) -> None:
        for profile, texts in profiles:
            read = partial(_exported, name=_vectors(profile))
            compare(folder / "graph" / GRAPH, texts, precision, read, advice)(output)

    advice = f"--precision {'fp32' if precision == 'bf16' else 'bf16'} keeps more of the range"
    return [
        graph_stage(graph),
        Stage(
            "plan",
            {"graph": ("*",)},
            commands=(plan_command(entry, folder / "graph" / GRAPH, precision),),
            verify=_check_plan,
            versions=versions,
        ),
        Stage(
            "check",
            {"graph": ("*",), "plan": ("*",)},
            commands=tuple(check_command(folder / "plan" / PLAN, *profile) for profile in profiles),
            fill=fill,
            verify=verify,
            versions=versions,
        ),
    ]


def graph_stage(graph: Mapping[str, Path]) -> Stage:
    """Links to the ONNX graph and its weights, which lie in the cache."""
    return Stage(
        "graph", facts={f"digest of {name}": sha256_of(path) for name, path in graph.items()}, fill=_links(graph)
    )


def plan_command(entry: ModelEntry, graph: Path, precision: str) -> tuple[str, ...]:
    """Compiles the graph: one profile for short texts, one for all, each for any number of texts up to the batch."""
    batch, longest = _batch(entry), entry.context_length
    short = min(SHORT_PROFILE, longest)
    command = ["trtexec", f"--onnx={graph}", f"--saveEngine={OUTPUT}/{PLAN}", "--skipInference"]
    if precision != "fp32":
        command.append(f"--{precision}")
    for number, (usual, most) in enumerate([(short // 2 or 1, short), (longest, longest)]):
        command += [f"--profile={number}", f"--minShapes={_shapes(1, 1)}"]
        command += [f"--optShapes={_shapes(max(1, batch // 2), usual)}", f"--maxShapes={_shapes(batch, most)}"]
    return tuple(command)


def check_command(plan: Path, profile: int, texts: Texts) -> tuple[str, ...]:
    """Computes the vectors of these texts by one of the plan's profiles; without --useProfile it would be the first."""
    inputs = ",".join(f"{name}:{OUTPUT}/{texts.file(name)}" for name in INPUTS)
    command = ["trtexec", f"--loadEngine={plan}", f"--useProfile={profile}"]
    command += [f"--shapes={_shapes(texts.batch, texts.tokens)}", "--warmUp=0", "--duration=0", "--iterations=1"]
    return (*command, f"--loadInputs={inputs}", f"--exportOutput={OUTPUT}/{_vectors(profile)}")


def _vectors(profile: int) -> str:
    return f"vectors.{profile}.json"


def finished_plan(entry: ModelEntry, work: Path) -> ModelEntry:
    """The entry with the folder of its plan.

    Raises:
        CatalogError: it is not built, not to its end, or for other limits.
    """
    folder = work / entry.name
    manifest = read_manifest(folder)
    whole = manifest.finished and "check" in manifest.stages
    if not whole or manifest.model != plan_facts(entry, str(manifest.model.get("precision"))):
        raise CatalogError(f"{entry.id}: has no plan in {folder}: python build/embedding_engine.py {entry.id}")
    return replace(entry, engine_dir=folder / "plan")


def plan_facts(entry: ModelEntry, precision: str) -> dict[str, Any]:
    """What the manifest keeps of the entry."""
    return {
        "id": entry.id,
        "engine": "tensorrt",
        "precision": precision,
        "context_length": entry.context_length,
        "max_batch_size": _batch(entry),
    }


def _batch(entry: ModelEntry) -> int:
    return int(entry.settings["max_batch_size"])


def _shapes(batch: int, tokens: int) -> str:
    return f"input_ids:{batch}x{tokens},attention_mask:{batch}x{tokens}"


def _links(graph: Mapping[str, Path]) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        for name, path in graph.items():
            (folder / name).symlink_to(path.resolve())

    return fill


def _check_plan(folder: Path) -> None:
    if not (folder / PLAN).is_file() or not (folder / PLAN).stat().st_size:
        raise PlanError(f"{folder / PLAN} is missing or empty, though trtexec ended well")


def _exported(folder: Path, name: str) -> NDArray[np.float32]:
    """What `trtexec --exportOutput` wrote: a list of {"name", "dimensions": "8x384", "values": [...]}."""
    path = folder / name
    try:
        tensors = {tensor["name"]: tensor for tensor in json.loads(path.read_text(encoding="utf-8"))}
        sizes = [int(size) for size in tensors[VECTOR]["dimensions"].split("x")]
        return np.array(tensors[VECTOR]["values"], np.float32).reshape(sizes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise VectorsError(f"{path}: {error!r}") from error
