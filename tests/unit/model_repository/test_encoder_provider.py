"""Where the encoder runs ONNX Runtime: what is asked for, or an error; never a CPU in silence."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

from build.embedding_graph import write_graph
from tests.support.model_modules import SOURCES, model_module
from tests.support.t5_oracle import write_t5


class ModelError(Exception):
    """TritonModelException."""


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    backend = ModuleType("triton_python_backend_utils")
    backend.TritonModelException = ModelError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    assert (SOURCES / "encoder" / "1" / "model.py").is_file()
    return importlib.reload(model_module("encoder", "model"))


@pytest.fixture
def graph(tmp_path: Path) -> str:
    write_t5(tmp_path, dense=0)
    return str(write_graph(tmp_path / "model.safetensors", tmp_path / "config.json", tmp_path))


def test_the_cpu(encoder: ModuleType, graph: str) -> None:
    session = encoder._session(graph, onnxruntime.SessionOptions(), "cpu")
    assert session.get_providers() == ["CPUExecutionProvider"]


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(encoder: ModuleType, graph: str) -> None:
    with pytest.raises(ModelError, match=r"provider: cuda needs ONNX Runtime's CUDAExecutionProvider; here are .*CPU"):
        encoder._session(graph, onnxruntime.SessionOptions(), "cuda")


def test_an_unknown_provider(encoder: ModuleType, graph: str) -> None:
    with pytest.raises(ModelError, match="provider: 'npu'; known: cpu, cuda"):
        encoder._session(graph, onnxruntime.SessionOptions(), "npu")


class FailingSession:
    """ONNX Runtime's session below Python, whose provider fails."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, *arguments: object) -> None:
        raise EPFail("CUDA failure 700")


def test_a_gpu_that_fails_later_is_no_reason_to_go_on_with_the_cpu(
    encoder: ModuleType, graph: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = encoder._session(graph, onnxruntime.SessionOptions(), "cpu")
    # ONNX Runtime goes on with these by itself, unless it is told not to.
    monkeypatch.setattr(session, "_fallback_providers", ["CPUExecutionProvider"])
    monkeypatch.setattr(session, "_sess", FailingSession(session._sess))
    ids = np.ones((1, 3), np.int64)
    with pytest.raises(EPFail, match="CUDA failure 700"):
        session.run(None, {"input_ids": ids, "attention_mask": ids})
