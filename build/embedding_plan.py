"""The stages from an embedding model's ONNX graph to a TensorRT plan whose vectors are held against the graph's.

    graph -> plan (trtexec, two optimisation profiles) -> check (trtexec with given inputs; ONNX Runtime on the CPU)

Options are those of TensorRT 10's `trtexec`, which NVIDIA's images bring along.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build.catalog import CatalogError, ModelEntry
from build.embedding_graph import OUTPUT as VECTOR
from build.embedding_graph import read_encoder
from build.manifest import read_manifest
from build.onnx_graph import GRAPH
from build.parts import PLAN
from build.stages import OUTPUT, Stage
from build.t5_graph import T5Config
from build.transfer import sha256_of

SHORT = 64  # tokens of the first profile's texts; the second is for all lengths
CHECKED = (8, 48)  # texts, and tokens of the longest, that are held against the graph
PRECISIONS = ("fp16", "bf16", "fp32")
# Cosine of the vectors of plan and graph. FP32 is TF32 on the GPU, FP16 and BF16 have 11 and 8 bits.
LEAST_COSINE = {"fp16": 0.999, "bf16": 0.995, "fp32": 0.9999}
VECTORS = "vectors.json"


class PlanError(ValueError):
    """The plan does not compute what the graph does; the message says by how much."""


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
    batch, tokens = min(CHECKED[0], _batch(entry)), min(CHECKED[1], entry.context_length)
    facts = {f"digest of {name}": sha256_of(path) for name, path in graph.items()}
    files = {name: f"{OUTPUT}/{name}.bin" for name in ("input_ids", "attention_mask")}
    check = ["trtexec", f"--loadEngine={folder / 'plan' / PLAN}"]
    check += [f"--shapes={_shapes(batch, tokens)}", "--warmUp=0", "--duration=0", "--iterations=1"]
    check += [f"--loadInputs={','.join(f'{name}:{path}' for name, path in files.items())}"]
    check += [f"--exportOutput={OUTPUT}/{VECTORS}"]
    return [
        Stage("graph", facts=facts, fill=_links(graph)),
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
            commands=(tuple(check),),
            fill=_write_inputs(batch, tokens, vocabulary),
            verify=_compare(folder / "graph" / GRAPH, precision, batch, tokens),
            versions=versions,
        ),
    ]


def plan_command(entry: ModelEntry, graph: Path, precision: str) -> tuple[str, ...]:
    """Compiles the graph: one profile for short texts, one for all, each for any number of texts up to the batch."""
    batch, longest = _batch(entry), entry.context_length
    command = ["trtexec", f"--onnx={graph}", f"--saveEngine={OUTPUT}/{PLAN}", "--skipInference"]
    if precision != "fp32":
        command.append(f"--{precision}")
    for number, (usual, most) in enumerate([(min(SHORT, longest) // 2 or 1, min(SHORT, longest)), (longest, longest)]):
        command += [f"--profile={number}", f"--minShapes={_shapes(1, 1)}"]
        command += [f"--optShapes={_shapes(max(1, batch // 2), usual)}", f"--maxShapes={_shapes(batch, most)}"]
    return tuple(command)


def finished_plan(entry: ModelEntry, work: Path) -> ModelEntry:
    """The entry with the folder of its plan.

    Raises:
        CatalogError: it is not built, not to its end, or for other limits.
    """
    folder = work / entry.name
    manifest = read_manifest(folder)
    if manifest.model != plan_facts(entry, str(manifest.model.get("precision"))) or "check" not in manifest.stages:
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


def _inputs(batch: int, tokens: int, vocabulary: int) -> dict[str, NDArray[np.int64]]:
    """Texts of different lengths, the first as long as it can be; ids at random, but always the same."""
    ids = np.random.default_rng(0).integers(0, vocabulary, (batch, tokens), np.int64)
    lengths = np.maximum(1, np.linspace(tokens, 1, batch).astype(np.int64))
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    return {"input_ids": ids * mask, "attention_mask": mask}


def _write_inputs(batch: int, tokens: int, vocabulary: int) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        for name, values in _inputs(batch, tokens, vocabulary).items():
            values.tofile(folder / f"{name}.bin")

    return fill


def _check_plan(folder: Path) -> None:
    if not (folder / PLAN).is_file() or not (folder / PLAN).stat().st_size:
        raise PlanError(f"{folder / PLAN} is missing or empty, though trtexec ended well")


def _compare(graph: Path, precision: str, batch: int, tokens: int) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        import onnxruntime

        inputs = {
            name: np.fromfile(folder / f"{name}.bin", np.int64).reshape(batch, tokens)
            for name in ("input_ids", "attention_mask")
        }
        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        (wanted,) = session.run([VECTOR], inputs)
        found = _exported(folder / VECTORS, wanted.shape)
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
        cosine = float(((found * wanted).sum(1) / np.maximum(lengths, 1e-12)).min())
        if not cosine >= LEAST_COSINE[precision]:  # a NaN is no success
            raise PlanError(
                f"the plan's vectors differ from the graph's: cosine {cosine:.5f}, {LEAST_COSINE[precision]} is asked "
                f"for {precision}; --precision {'fp32' if precision == 'bf16' else 'bf16'} keeps more of the range"
            )

    return check


def _exported(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """What `trtexec --exportOutput` wrote: a list of {"name", "dimensions": "8x384", "values": [...]}."""
    try:
        tensors = {tensor["name"]: tensor for tensor in json.loads(path.read_text(encoding="utf-8"))}
        return np.array(tensors[VECTOR]["values"], np.float32).reshape(shape)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanError(f"{path}: {error!r}") from error
