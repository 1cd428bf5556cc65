"""Pretends to be onnxruntime-gpu: the real ONNX Runtime of this Python, with a CUDA provider that is its CPU one.

For PYTHONPATH. Sessions that do not ask for CUDA are the real ones. The recorder of the pretend tools knows it as
`cuda`. PRETEND_FAULT, beside the recorder's: cuda:fallback (no GPU: the session goes on with the CPU), cuda:late (the
provider fails in `run`, and ONNX Runtime goes on with the CPU unless told not to), cuda:wrong, cuda:nan, cuda:shape.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:] = [path for path in sys.path if Path(path).resolve() != HERE]
del sys.modules["onnxruntime"]
import onnxruntime as real  # noqa: E402 - now the one that is installed

sys.path.append(str(HERE.parent / "pretend_tools"))
from recorder import begin  # noqa: E402

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
FAULT = os.environ.get("PRETEND_FAULT", "").removeprefix("cuda:")


class InferenceSession(real.InferenceSession):  # type: ignore[misc]
    def __init__(self, path: Any, options: Any = None, providers: Any = None) -> None:
        super().__init__(path, options, providers=[CPU])
        self._providers_here, self._falls_back = [CPU], True
        if providers and providers[0] == CUDA:
            output = Path(sys.argv[-1]).parent if Path(sys.argv[0]).name == "cuda_vectors.py" else Path()
            begin("cuda", argparse.Namespace(output_dir=output))
            if FAULT != "fallback":
                self._providers_here = [CUDA, CPU]

    def get_providers(self) -> list[str]:
        return self._providers_here

    def disable_fallback(self) -> None:
        self._falls_back = False

    def run(self, names: Any, inputs: Any, options: Any = None) -> Any:
        if self._providers_here[0] == CUDA and FAULT == "late":
            if not self._falls_back:
                raise RuntimeError("CUDA failure 2: out of memory")
            self._providers_here = [CPU]
        results = super().run(names, inputs, options)
        if self._providers_here[0] == CUDA:
            results = [_computed(result) for result in results]
        return results


def _computed(result: Any) -> Any:
    if FAULT == "wrong":
        return result + 0.05
    if FAULT == "nan":
        result[-1, -1] = float("nan")
    return result[:, 1:] if FAULT == "shape" else result


def get_available_providers() -> list[str]:
    return [CUDA, CPU]


real.InferenceSession, real.get_available_providers = InferenceSession, get_available_providers
