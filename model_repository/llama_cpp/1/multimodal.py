"""llama.cpp's multimodal library (mtmd), as the wheel `xllamacpp` carries it: encoded files in, embeddings out.

A medium (an image or a recording) becomes a row of parts: tokens that the model wants around and between (begin and
end marks, separators of an image's tiles) and embeddings that take the place of tokens in the prompt.

As in `llama_library.py`, structs come from the library's own `*_default` functions, with room to spare, and are checked
against the documented defaults: another build that moved a field is refused at load.

Source of names, layouts and return codes: `tools/mtmd/mtmd.h` and `mtmd-helper.h` of llama.cpp.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from .audio_header import readable_audio
from .image_header import MAX_PIXELS, image_size
from .llama import Model
from .llama_library import LlamaError, llama_library

_ROOM = 256
_TEXT, _AUDIO = 0, 2  # kinds of chunks; 1 is an image
# Of one recording, at the 16 kHz that encoders hear: 0.1 s. llama.cpp ends the process where there is but one.
MIN_SAMPLES = 1600
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int32


class MediaError(ValueError):
    """A medium is damaged, of an unknown format, or of a kind that the model does not take."""


class _ContextParams(ctypes.Structure):
    _fields_ = [
        ("use_gpu", ctypes.c_bool),
        ("device", ctypes.c_void_p),
        ("print_timings", ctypes.c_bool),
        ("n_threads", ctypes.c_int),
        ("image_marker", ctypes.c_void_p),
        ("media_marker", ctypes.c_char_p),
        ("flash_attn_type", ctypes.c_int),
        ("warmup", ctypes.c_bool),
        ("image_min_tokens", ctypes.c_int),
        ("image_max_tokens", ctypes.c_int),
        ("cb_eval", ctypes.c_void_p),
        ("cb_eval_user_data", ctypes.c_void_p),
        ("batch_max_tokens", ctypes.c_int32),
        ("room", ctypes.c_uint8 * _ROOM),
    ]


class _InitOptions(ctypes.Structure):
    _fields_ = [
        ("fps_target", ctypes.c_float),
        ("ffmpeg_bin_dir", ctypes.c_void_p),
        ("timestamp_interval_ms", ctypes.c_int64),
        ("room", ctypes.c_uint8 * _ROOM),
    ]


class _BitmapWrapper(ctypes.Structure):
    _fields_ = [("bitmap", ctypes.c_void_p), ("video", ctypes.c_void_p)]


class _InputPart(ctypes.Structure):
    _fields_ = [("text", ctypes.c_void_p), ("bitmap", ctypes.c_void_p)]


_CONTEXT_DEFAULTS = {
    "use_gpu": True,
    "device": None,
    "print_timings": True,
    "n_threads": 4,
    "image_marker": None,
    "media_marker": b"<__media__>",
    "flash_attn_type": -1,
    "warmup": True,
    "image_min_tokens": -1,
    "image_max_tokens": -1,
    "cb_eval": None,
    "batch_max_tokens": 1024,
}
_OPTION_DEFAULTS = {"fps_target": 4.0, "ffmpeg_bin_dir": None, "timestamp_interval_ms": 5000}

_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "llama_model_n_embd_inp": (_INT, [_POINTER]),
    "mtmd_context_params_default": (_ContextParams, []),
    "mtmd_helper_init_opt_default": (_InitOptions, []),
    "mtmd_helper_log_set": (None, [_POINTER, _POINTER]),
    "mtmd_init_from_file": (_POINTER, [ctypes.c_char_p, _POINTER, _ContextParams]),
    "mtmd_free": (None, [_POINTER]),
    "mtmd_support_vision": (ctypes.c_bool, [_POINTER]),
    "mtmd_support_audio": (ctypes.c_bool, [_POINTER]),
    "mtmd_decode_use_mrope": (ctypes.c_bool, [_POINTER]),
    "mtmd_decode_use_non_causal": (ctypes.c_bool, [_POINTER, _POINTER]),
    "mtmd_helper_bitmap_init_from_buf": (
        _BitmapWrapper,
        [_POINTER, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_bool, _InitOptions],
    ),
    "mtmd_helper_video_free": (None, [_POINTER]),
    "mtmd_bitmap_free": (None, [_POINTER]),
    "mtmd_bitmap_is_audio": (ctypes.c_bool, [_POINTER]),
    "mtmd_bitmap_get_nx": (ctypes.c_uint32, [_POINTER]),
    "mtmd_input_chunks_init": (_POINTER, []),
    "mtmd_input_chunks_free": (None, [_POINTER]),
    "mtmd_input_chunks_size": (ctypes.c_size_t, [_POINTER]),
    "mtmd_input_chunks_get": (_POINTER, [_POINTER, ctypes.c_size_t]),
    "mtmd_tokenize_from_parts": (_INT, [_POINTER, _POINTER, _POINTER, ctypes.c_size_t, ctypes.c_bool]),
    "mtmd_input_chunk_get_type": (ctypes.c_int, [_POINTER]),
    "mtmd_input_chunk_get_tokens_text": (_POINTER, [_POINTER, ctypes.POINTER(ctypes.c_size_t)]),
    "mtmd_input_chunk_get_tokens_image": (_POINTER, [_POINTER]),
    "mtmd_input_chunk_get_n_tokens": (ctypes.c_size_t, [_POINTER]),
    "mtmd_input_chunk_get_n_pos": (_INT, [_POINTER]),
    "mtmd_helper_image_get_decoder_pos": (None, [_POINTER, _INT, _POINTER]),
    "mtmd_encode_chunk": (_INT, [_POINTER, _POINTER]),
    "mtmd_get_output_embd": (_POINTER, [_POINTER]),
}


def _check(what: str, params: ctypes.Structure, defaults: dict[str, Any]) -> None:
    for name, value in defaults.items():
        if getattr(params, name) != value:
            raise LlamaError(f"this build of xllamacpp has another {what}: {name} is not {value}")


def _bind(library: Any) -> Any:
    """Gives the functions of `library` their signatures, and checks the layout of its structs.

    Raises:
        LlamaError: a function is missing, or a struct is not the one described here.
    """
    for name, (result, arguments) in _SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise LlamaError(f"this build of xllamacpp does not export {name}") from None
        function.restype, function.argtypes = result, arguments
    _check("mtmd_context_params", library.mtmd_context_params_default(), _CONTEXT_DEFAULTS)
    _check("mtmd_helper_init_opt", library.mtmd_helper_init_opt_default(), _OPTION_DEFAULTS)
    return library


@dataclass(frozen=True)
class TokenPart:
    """Tokens of the vocabulary: int32 [n]."""

    tokens: np.ndarray

    @property
    def count(self) -> int:
        return len(self.tokens)

    @property
    def advance(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class EmbeddingPart:
    """What takes the place of `count` tokens.

    positions    int32 [dims, count], relative to the part's first: dims is 4 with M-RoPE, else 1
    advance      positions that the part takes; differs from `count` with M-RoPE
    non_causal   its tokens see each other both ways: to be computed in one go
    embeddings   FP32 [count, n_embd], or None where only the count was asked for
    """

    count: int
    positions: np.ndarray
    advance: int
    non_causal: bool
    embeddings: np.ndarray | None


Part = TokenPart | EmbeddingPart


class Projector:
    """The encoders of images and audio that belong to a model. Used by one thread at a time.

    Args:
        path: the mmproj GGUF.
        model: the text model; its embeddings must be as wide as the projector's.
        threads: for encoding.
    Raises:
        LlamaError: the file is missing, damaged, or not made for this model.
    """

    def __init__(self, path: str, model: Model, threads: int) -> None:
        self._llama = llama_library()
        self._mtmd = _bind(self._llama.handle)
        self._mtmd.mtmd_helper_log_set(ctypes.cast(self._llama.logger, _POINTER), None)
        params = self._mtmd.mtmd_context_params_default()
        params.use_gpu = params.print_timings = params.warmup = False
        params.n_threads = threads
        self._pointer = self._mtmd.mtmd_init_from_file(os.fsencode(path), model.pointer, params)
        if not self._pointer:
            raise self._llama.failure(f"cannot load {path}")
        self._options = self._mtmd.mtmd_helper_init_opt_default()
        # What is neither image nor audio would be handed to ffprobe and ffmpeg, which open whatever a hostile file
        # names. They are not found here.
        self._no_programs = ctypes.create_string_buffer(os.devnull.encode())
        self._options.ffmpeg_bin_dir = ctypes.addressof(self._no_programs)
        self._width = self._mtmd.llama_model_n_embd_inp(model.pointer)
        self._mrope: bool = self._mtmd.mtmd_decode_use_mrope(self._pointer)

    @property
    def modalities(self) -> frozenset[str]:
        """Of `image` and `audio`, those that the file has an encoder for."""
        found = {"image": self._mtmd.mtmd_support_vision, "audio": self._mtmd.mtmd_support_audio}
        return frozenset(name for name, supported in found.items() if supported(self._pointer))

    @property
    def non_causal(self) -> bool:
        """Whether an image is computed in one go."""
        return bool(self._mtmd.mtmd_decode_use_non_causal(self._pointer, None))

    def parts(self, data: bytes, *, encode: bool = True) -> list[Part]:
        """What stands for one medium in the prompt.

        Args:
            data: an encoded file; what kind it is shows in its first bytes.
            encode: False counts only: the encoder, which takes most of the time, does not run.
        Raises:
            MediaError: not a file that can be read, or of a kind that the model does not take.
            LlamaError: the encoder failed.
        """
        size = image_size(data)
        if size is not None and size[0] * size[1] > MAX_PIXELS:
            raise MediaError(f"{size[0]} x {size[1]} pixels are more than {MAX_PIXELS}")
        found = readable_audio(data) if size is None else data
        if found is None:
            raise MediaError("not an image or a recording that can be read")
        bitmap = self._read(found, placeholder=not encode)
        try:
            kind = "audio" if self._mtmd.mtmd_bitmap_is_audio(bitmap) else "image"
            if kind not in self.modalities:
                raise MediaError(f"the model takes no {kind}")
            if kind == "audio" and self._mtmd.mtmd_bitmap_get_nx(bitmap) < MIN_SAMPLES:
                raise MediaError("a recording of less than 0.1 seconds")
            return self._parts(bitmap, kind, encode)
        finally:
            self._mtmd.mtmd_bitmap_free(bitmap)

    def _read(self, data: bytes, placeholder: bool) -> int:
        wrapper = self._mtmd.mtmd_helper_bitmap_init_from_buf(
            self._pointer, data, len(data), placeholder, self._options
        )
        if wrapper.video:
            self._mtmd.mtmd_helper_video_free(wrapper.video)
        if not wrapper.bitmap:
            self._llama.complaints.clear()
            raise MediaError("not an image or a recording that can be read")
        return int(wrapper.bitmap)

    def _parts(self, bitmap: int, kind: str, encode: bool) -> list[Part]:
        part = _InputPart(None, bitmap)
        row = (ctypes.c_void_p * 1)(ctypes.addressof(part))
        chunks = self._mtmd.mtmd_input_chunks_init()
        try:
            if self._mtmd.mtmd_tokenize_from_parts(self._pointer, chunks, row, 1, False) != 0:
                self._llama.complaints.clear()
                raise MediaError(f"the {kind} cannot be prepared for the model")
            count = self._mtmd.mtmd_input_chunks_size(chunks)
            return [self._part(self._mtmd.mtmd_input_chunks_get(chunks, index), encode) for index in range(count)]
        finally:
            self._mtmd.mtmd_input_chunks_free(chunks)

    def _part(self, chunk: int, encode: bool) -> Part:
        kind = self._mtmd.mtmd_input_chunk_get_type(chunk)
        if kind == _TEXT:
            length = ctypes.c_size_t()
            tokens = self._mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(length))
            if not length.value:
                return TokenPart(np.zeros(0, dtype=np.int32))
            ids = np.array((ctypes.c_int32 * length.value).from_address(tokens), dtype=np.int32)
            if ids.min() < 0:
                raise LlamaError("the projector is of another model: its marks are not in the vocabulary")
            return TokenPart(ids)
        count: int = self._mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        return EmbeddingPart(
            count=count,
            positions=self._positions(chunk, kind, count),
            advance=self._mtmd.mtmd_input_chunk_get_n_pos(chunk),
            non_causal=self._mtmd.mtmd_decode_use_non_causal(self._pointer, chunk),
            embeddings=self._encode(chunk, count) if encode else None,
        )

    def _positions(self, chunk: int, kind: int, count: int) -> np.ndarray:
        line = np.arange(count, dtype=np.int32)
        if not self._mrope:
            return line[np.newaxis]
        if kind == _AUDIO:
            return np.stack([line, line, line, np.zeros_like(line)])
        found = np.zeros((count, 4), dtype=np.uint32)  # mtmd_decoder_pos: t, x, y, z
        image = self._mtmd.mtmd_input_chunk_get_tokens_image(chunk)
        self._mtmd.mtmd_helper_image_get_decoder_pos(image, 0, found.ctypes.data)
        return np.ascontiguousarray(found[:, [0, 2, 1, 3]].T.astype(np.int32))  # llama.cpp wants t, y, x, z

    def _encode(self, chunk: int, count: int) -> np.ndarray:
        if self._mtmd.mtmd_encode_chunk(self._pointer, chunk) != 0:
            raise self._llama.failure("a medium could not be encoded")
        output = self._mtmd.mtmd_get_output_embd(self._pointer)
        values = np.frombuffer((ctypes.c_float * (count * self._width)).from_address(output), dtype=np.float32)
        return values.reshape(count, self._width).copy()

    def close(self) -> None:
        if self._pointer:
            self._mtmd.mtmd_free(self._pointer)
            self._pointer = None
