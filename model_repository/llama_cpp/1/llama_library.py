"""The C functions of llama.cpp, as the wheel `xllamacpp` carries them.

The wheel's extension module exports the functions of `llama.h`, so `ctypes` reaches them without a compiler. Its own
`Server` class cannot serve this model: in a stream it drops the ids of tokens that end inside a UTF-8 character.

Parameter structs are taken from llama.cpp's `*_default_params` as they are, with room to spare behind the fields
named here, and are checked against the documented defaults: another build that moved a field is refused at load
instead of being fed garbage.

Source of names, layouts and return codes: `include/llama.h` of llama.cpp.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections import deque
from pathlib import Path
from typing import Any

_ROOM = 256  # bytes behind the named fields; passed by value, the callee reads only its own part
_LOG_ERROR = 4
_LOGGER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class LlamaError(Exception):
    """llama.cpp refused or failed; the message holds what it logged."""


class _ModelParams(ctypes.Structure):
    _fields_ = [
        ("devices", ctypes.c_void_p),
        ("tensor_buft_overrides", ctypes.c_void_p),
        ("n_gpu_layers", ctypes.c_int32),
        ("split_mode", ctypes.c_int32),
        ("room", ctypes.c_uint8 * _ROOM),
    ]


class _ContextParams(ctypes.Structure):
    _fields_ = [
        ("n_ctx", ctypes.c_uint32),
        ("n_batch", ctypes.c_uint32),
        ("n_ubatch", ctypes.c_uint32),
        ("n_seq_max", ctypes.c_uint32),
        ("n_rs_seq", ctypes.c_uint32),
        ("n_outputs_max", ctypes.c_uint32),
        ("n_outputs_max_per_seq", ctypes.c_uint32),
        ("n_threads", ctypes.c_int32),
        ("n_threads_batch", ctypes.c_int32),
        ("ctx_type", ctypes.c_int32),
        ("rope_scaling_type", ctypes.c_int32),
        ("pooling_type", ctypes.c_int32),
        ("room", ctypes.c_uint8 * _ROOM),
    ]


class Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.c_void_p),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.c_void_p),
        ("n_seq_id", ctypes.c_void_p),
        ("seq_id", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
    ]


_CONTEXT_DEFAULTS = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_rs_seq": 0,
    "n_outputs_max": 0,
    "n_outputs_max_per_seq": 1,
    "n_threads": 4,
    "n_threads_batch": 4,
    "ctx_type": 0,
    "rope_scaling_type": -1,
    "pooling_type": -1,
}

_POINTER, _INT = ctypes.c_void_p, ctypes.c_int32
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [_LOGGER, _POINTER]),
    "llama_model_default_params": (_ModelParams, []),
    "llama_context_default_params": (_ContextParams, []),
    "llama_model_load_from_file": (_POINTER, [ctypes.c_char_p, _ModelParams]),
    "llama_model_free": (None, [_POINTER]),
    "llama_model_get_vocab": (_POINTER, [_POINTER]),
    "llama_model_n_ctx_train": (_INT, [_POINTER]),
    "llama_model_has_encoder": (ctypes.c_bool, [_POINTER]),
    "llama_init_from_model": (_POINTER, [_POINTER, _ContextParams]),
    "llama_free": (None, [_POINTER]),
    "llama_n_ctx_seq": (ctypes.c_uint32, [_POINTER]),
    "llama_get_memory": (_POINTER, [_POINTER]),
    "llama_memory_seq_rm": (ctypes.c_bool, [_POINTER, _INT, _INT, _INT]),
    "llama_set_abort_callback": (None, [_POINTER, _POINTER, _POINTER]),
    "llama_set_causal_attn": (None, [_POINTER, ctypes.c_bool]),
    "llama_set_n_threads": (None, [_POINTER, _INT, _INT]),
    "llama_decode": (_INT, [_POINTER, Batch]),
    "llama_get_logits_ith": (_POINTER, [_POINTER, _INT]),
    "llama_vocab_n_tokens": (_INT, [_POINTER]),
    "llama_vocab_is_eog": (ctypes.c_bool, [_POINTER, _INT]),
    "llama_vocab_eos": (_INT, [_POINTER]),
    "llama_vocab_get_attr": (_INT, [_POINTER, _INT]),
    "llama_token_to_piece": (_INT, [_POINTER, _INT, ctypes.c_char_p, _INT, _INT, ctypes.c_bool]),
}


class Library:
    """The functions of `llama.h` with their signatures, and what llama.cpp last complained about."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("xllamacpp")
        if spec is None or not spec.submodule_search_locations:
            raise LlamaError("the package xllamacpp is not installed: pip install 'tritongate[cpu]'")
        folder = Path(spec.submodule_search_locations[0])
        found = sorted(folder.glob("xllamacpp*.so"))
        if not found:
            raise LlamaError(f"no extension module in {folder}")
        # OpenMP's threads spin at every barrier for milliseconds, which starves whoever else needs the cores: Triton,
        # the adapter, and the very thread that is waited for. A few microseconds are enough. Read once, at loading.
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
        self.handle = ctypes.CDLL(str(found[0]))
        for name, (result, arguments) in _SIGNATURES.items():
            setattr(self, name, self.function(name, result, arguments))
        self.complaints: deque[str] = deque(maxlen=8)
        self.logger = _LOGGER(self._log)  # llama.cpp keeps the pointer
        self.llama_log_set(self.logger, None)
        self._check_layout()
        self.llama_backend_init()

    def function(self, name: str, result: Any, arguments: list[Any]) -> Any:
        try:
            function = getattr(self.handle, name)
        except AttributeError:
            raise LlamaError(f"this build of xllamacpp does not export {name}") from None
        function.restype, function.argtypes = result, arguments
        return function

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)  # for type checkers: the functions are set in __init__

    def _log(self, level: int, text: bytes, _: int) -> None:
        if level == _LOG_ERROR:
            self.complaints.append(text.decode("utf-8", "replace").strip())

    def _check_layout(self) -> None:
        params = self.llama_context_default_params()
        for name, value in _CONTEXT_DEFAULTS.items():
            if getattr(params, name) != value:
                raise LlamaError(f"this build of xllamacpp has another llama_context_params: {name} is not {value}")

    def failure(self, what: str) -> LlamaError:
        details = "; ".join(self.complaints)
        self.complaints.clear()
        return LlamaError(f"{what}: {details}" if details else what)


_library: Library | None = None


def llama_library() -> Library:
    """The library, loaded once in a process.

    Raises:
        LlamaError: the wheel is missing, or another build of it.
    """
    global _library
    if _library is None:
        _library = Library()
    return _library


def exported(name: str, result: Any, arguments: list[Any]) -> Any:
    """A further function of `llama.h`.

    Raises:
        LlamaError: this build does not have it.
    """
    return llama_library().function(name, result, arguments)
