"""LoRA adapters of a model, and which of them a context computes with.

A context has one set of adapters at a time, for every sequence of a batch: the engine computes the answers of each
adapter in batches of their own. Source of names and rules: `include/llama.h` of llama.cpp.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from .llama import Context, Model
from .llama_library import LlamaError, exported

BASE = 0  # in the place of a task id: the model without an adapter
_POINTER = ctypes.c_void_p


@dataclass(frozen=True)
class Source:
    """An adapter's GGUF file, and the factor of what it adds to the model."""

    path: str
    scale: float


def read_sources(text: str) -> dict[int, Source]:
    """By task id: `{"1": {"name": "sql", "path": "/models/sql.gguf", "scale": 1.0}}`; without a scale it is 1.

    Raises:
        ValueError: it is not of this form.
    """
    sources: dict[int, Source] = {}
    for key, value in (json.loads(text) if text else {}).items():
        scale = float(value.get("scale", 1.0))
        if not key.isdigit() or not 0 < int(key) < 2**64 or not math.isfinite(scale):
            raise ValueError(f"lora_adapters: {key!r}: a task id over 0 with a path and a scale is needed")
        sources[int(key)] = Source(str(value["path"]), scale)
    return sources


class LoraAdapters:
    """Loads adapters for a model; to be made before the model's context, whose buffers have to have room for them.

    Raises:
        LlamaError: a file is missing, damaged, or made for another model; or one that only counts from certain tokens
            on (aLoRA).
    """

    def __init__(self, model: Model, sources: Mapping[int, Source]) -> None:
        self._load = exported("llama_adapter_lora_init", _POINTER, [_POINTER, ctypes.c_char_p])
        self._set = exported(
            "llama_set_adapters_lora",
            ctypes.c_int32,
            [_POINTER, ctypes.POINTER(_POINTER), ctypes.c_size_t, ctypes.POINTER(ctypes.c_float)],
        )
        invoked_by = exported("llama_adapter_get_alora_n_invocation_tokens", ctypes.c_uint64, [_POINTER])
        self._adapters: dict[int, tuple[int, float]] = {}
        for task, source in sources.items():
            pointer = self._load(model.pointer, os.fsencode(source.path))  # freed with the model
            if not pointer:
                raise LlamaError(f"cannot load the LoRA adapter {source.path}: is it made for this model?")
            if invoked_by(pointer):
                raise LlamaError(f"{source.path}: adapters that begin at an invocation (aLoRA) are not supported")
            self._adapters[task] = (pointer, source.scale)
        self._current = BASE

    def use(self, context: Context, task: int) -> None:
        """What is computed from now on is computed with this adapter, or with none (`BASE`).

        Raises:
            LlamaError: llama.cpp refuses.
        """
        if task == self._current:
            return
        pointer, scale = self._adapters.get(task, (None, 0.0))
        count = int(pointer is not None)
        if self._set(context.pointer, (_POINTER * 1)(pointer), count, (ctypes.c_float * 1)(scale)) != 0:
            raise LlamaError(f"the LoRA adapter of task {task} cannot be used")
        self._current = task
