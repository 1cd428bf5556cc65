#!/usr/bin/env python3
"""Computes an ONNX graph's vectors with ONNX Runtime's CUDA provider: a step of build/embedding_engine.py.

    cuda_vectors.py GRAPH OUTPUT BATCHxTOKENS NAME=FILE ... RESULT

NAME is an input of the graph, FILE its values (INT64, as they lie in memory), OUTPUT the output that is written to
RESULT as a .npy file. It needs nothing but numpy and onnxruntime-gpu, so that it runs in any image that has those.
Exit code 1, and one line that says why, where ONNX Runtime has no CUDA or would go on without it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at its import: no id and no events for its makers

CUDA = "CUDAExecutionProvider"


def main(arguments: list[str]) -> None:
    """The command."""
    try:
        import numpy as np
        import onnxruntime
    except ImportError as error:
        sys.exit(f"error: {sys.executable}: {error}: the packages numpy and onnxruntime-gpu are needed")
    graph, output, shape, *files, result = arguments
    sizes = [int(size) for size in shape.split("x")]
    values = {name: np.fromfile(path, np.int64).reshape(sizes) for name, path in (file.split("=", 1) for file in files)}
    available = onnxruntime.get_available_providers()
    if CUDA not in available:
        sys.exit(
            f"error: ONNX Runtime {onnxruntime.__version__} of {sys.executable} has no {CUDA}, only "
            f"{', '.join(available)}: the package onnxruntime-gpu is needed, in the place of onnxruntime"
        )
    session = onnxruntime.InferenceSession(graph, providers=[CUDA])
    # After an error of the provider, `run` would make a new session on the CPU and go on with that.
    session.disable_fallback()
    found = session.get_providers()
    if found[0] != CUDA:
        sys.exit(
            f"error: ONNX Runtime {onnxruntime.__version__} goes on with {found[0]} though {CUDA} was asked for: there "
            "is no GPU here, or CUDA and cuDNN are not of the versions that it wants; its own words are above"
        )
    (vectors,) = session.run([output], values)
    np.save(Path(result), vectors)
    print(f"ONNX Runtime {onnxruntime.__version__}, {found[0]}: {' x '.join(map(str, vectors.shape))} numbers")


if __name__ == "__main__":
    main(sys.argv[1:])
