"""Modules of a Triton model over a pretend `triton_python_backend_utils`, which exists inside Triton alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.support.model_modules import model_module


@contextmanager
def pretend_backend(
    monkeypatch: pytest.MonkeyPatch, model: str, over: Sequence[str], others: Sequence[str] = ()
) -> Iterator[SimpleNamespace]:
    """The modules of `model_repository/MODEL/1`, by name.

    Args:
        over: those that import it: made anew, and forgotten at the end. others: further ones.
    """
    utils: Any = ModuleType("triton_python_backend_utils")
    utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1
    utils.TritonError = type("TritonError", (), {"INVALID_ARG": 3, "INTERNAL": 1})
    utils.TritonError.__init__ = lambda self, message, code: vars(self).update(message=message, code=code)
    utils.InferenceResponse = lambda tensors=None, error=None: SimpleNamespace(tensors=tensors, error=error)
    utils.Tensor = lambda name, array: SimpleNamespace(name=name, array=array)
    utils.Logger = SimpleNamespace(log_error=lambda text: None, log_verbose=lambda text: None)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    for name in over:
        monkeypatch.delitem(sys.modules, f"triton_model_{model}.{name}", raising=False)
    yield SimpleNamespace(**{name: model_module(model, name) for name in (*over, *others)})
    for name in over:
        sys.modules.pop(f"triton_model_{model}.{name}", None)
