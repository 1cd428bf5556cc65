"""The stages of an embedding model whose ONNX graph is served as it is, by ONNX Runtime's CUDA provider.

graph -> check (build/cuda_vectors.py on the GPU; ONNX Runtime on the CPU)
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build import cuda_vectors
from build.catalog import ModelEntry
from build.embedding_check import INPUTS, VectorsError, checked_texts, compare
from build.embedding_graph import OUTPUT as VECTOR
from build.embedding_plan import graph_stage
from build.onnx_graph import GRAPH
from build.stages import OUTPUT, Stage
from build.tool_runner import ToolRunner
from build.tool_versions import tool_versions
from build.transfer import sha256_of
from build.trtllm_commands import PYTHON

SCRIPT = Path(cuda_vectors.__file__)
VECTORS = "vectors.npy"
PRECISION = "fp32"  # what the graph computes in


def cuda_stages(
    entry: ModelEntry, folder: Path, graph: Mapping[str, Path], vocabulary: int, runner: ToolRunner
) -> list[Stage]:
    """The stages, in order.

    Args:
        graph: the ONNX graph and its weights, by name. vocabulary: ids of the check are below it.
    """
    texts = checked_texts(entry, vocabulary)
    # The script goes along: a container sees the build's folder, and this code need not be in its image.
    command = [PYTHON if runner.container else sys.executable, f"{OUTPUT}/{SCRIPT.name}"]
    command += [str(folder / "graph" / GRAPH), VECTOR, texts.shape]
    command += [*(f"{name}={OUTPUT}/{texts.file(name)}" for name in INPUTS), f"{OUTPUT}/{VECTORS}"]

    def fill(output: Path) -> None:
        texts.write(output)
        shutil.copyfile(SCRIPT, output / SCRIPT.name)

    return [
        graph_stage(graph),
        Stage(
            "check",
            {"graph": ("*",)},
            facts={f"digest of {SCRIPT.name}": sha256_of(SCRIPT)},
            commands=(tuple(command),),
            fill=fill,
            verify=compare(
                folder / "graph" / GRAPH, texts, PRECISION, _read, "another onnxruntime-gpu, or a TensorRT plan"
            ),
            versions=tool_versions("onnxruntime-gpu", runner.container, runner.image_id),
        ),
    ]


def cuda_facts(entry: ModelEntry) -> dict[str, Any]:
    """What the manifest keeps of the entry."""
    return {
        "id": entry.id,
        "engine": "onnxruntime",
        "provider": "cuda",
        "context_length": entry.context_length,
        "max_batch_size": entry.settings["max_batch_size"],
    }


def cuda_folder(entry: ModelEntry, work: Path) -> Path:
    """Of the build. Its own: a plan of the same model is not lost for it."""
    return work / f"{entry.name}.cuda"


def _read(folder: Path) -> NDArray[np.float32]:
    path = folder / VECTORS
    try:
        return np.asarray(np.load(path, allow_pickle=False), np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise VectorsError(f"{path}: {error!r}") from error
