"""Models and contexts of llama.cpp, over its C functions (`llama_library.py`)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

import numpy as np

from .llama_library import Batch, LlamaError, llama_library

ABORTED = 2  # llama_decode: the abort callback said so; nothing of the batch stays in the KV cache
_ATTR_UNKNOWN, _ATTR_CONTROL = 1 << 0, 1 << 3


class Abort:
    """A flag that stops a running `Context.decode`, set from any thread.

    llama.cpp asks its abort callback between any two operations of a graph. A Python callback would have to take
    the interpreter's lock hundreds of times per token, so libc's `atoi` is the callback and the flag is its text.
    """

    def __init__(self) -> None:
        self._text = ctypes.create_string_buffer(b"0")
        self.address = ctypes.addressof(self._text)

    def set(self) -> None:
        self._text[0] = b"1"

    def clear(self) -> None:
        self._text[0] = b"0"


class Vocabulary:
    """Tokens of a model. Ids are 0 <= id < `size`."""

    def __init__(self, pointer: int) -> None:
        self._llama = llama_library()
        self._pointer = pointer
        self.size: int = self._llama.llama_vocab_n_tokens(pointer)

    def end_ids(self) -> list[int]:
        """Every token that ends an answer; the model's main one first."""
        main = self._llama.llama_vocab_eos(self._pointer)
        ids = [token for token in range(self.size) if self._llama.llama_vocab_is_eog(self._pointer, token)]
        return sorted(ids, key=lambda token: token != main)

    def pieces(self) -> tuple[list[bytes], list[int]]:
        """The bytes of every token, and the ids of those that are control tokens rather than text."""
        buffer = ctypes.create_string_buffer(4096)
        pieces: list[bytes] = []
        special: list[int] = []
        for token in range(self.size):
            length = self._llama.llama_token_to_piece(self._pointer, token, buffer, len(buffer), 0, True)
            piece = buffer.raw[:length] if length > 0 else b""
            attributes = self._llama.llama_vocab_get_attr(self._pointer, token)
            # Added tokens that are no control tokens (often `<think>`, `<tool_call>`) are text like any other.
            if attributes & (_ATTR_CONTROL | _ATTR_UNKNOWN):
                special.append(token)
            pieces.append(piece)
        return pieces, special


class Model:
    """Weights of a GGUF file, memory-mapped.

    Raises:
        LlamaError: the file is missing, damaged, or of an architecture this build does not know.
    """

    def __init__(self, path: str) -> None:
        self._llama = llama_library()
        self.pointer = self._llama.llama_model_load_from_file(
            os.fsencode(path), self._llama.llama_model_default_params()
        )
        if not self.pointer:
            raise self._llama.failure(f"cannot load {path}")
        if self._llama.llama_model_has_encoder(self.pointer):
            self.close()
            raise LlamaError(f"{path}: models with an encoder are not supported")
        self.vocabulary = Vocabulary(self._llama.llama_model_get_vocab(self.pointer))
        self.trained_length: int = self._llama.llama_model_n_ctx_train(self.pointer)

    def close(self) -> None:
        if self.pointer:
            self._llama.llama_model_free(self.pointer)
            self.pointer = None


class Context:
    """KV cache and compute buffers for `sequences` independent sequences. Used by one thread at a time.

    Args:
        length: tokens per sequence; llama.cpp rounds up to a multiple of 256, `length` is kept as the limit.
        batch: most tokens of one `decode`.
        threads: for prompts, and for steps of the answers.
    Raises:
        LlamaError: not enough memory.
    """

    def __init__(self, model: Model, *, sequences: int, length: int, batch: int, threads: tuple[int, int]) -> None:
        self._llama = llama_library()
        self._vocab_size = model.vocabulary.size
        batch = max(batch, sequences)
        params = self._llama.llama_context_default_params()
        params.n_ctx = (length + 255) // 256 * 256 * sequences
        # One physical batch per call: an aborted call leaves nothing half done.
        params.n_batch = params.n_ubatch = batch
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = max(threads)
        self.pointer = self._llama.llama_init_from_model(model.pointer, params)
        if not self.pointer or self._llama.llama_n_ctx_seq(self.pointer) < length:
            raise self._llama.failure(f"no room for {sequences} sequences of {length} tokens")
        self._memory = self._llama.llama_get_memory(self.pointer)
        self._prompt_threads, self._step_threads = threads
        self.abort = Abort()
        libc = ctypes.CDLL(None)
        callback = ctypes.cast(libc.atoi, ctypes.c_void_p)
        self._llama.llama_set_abort_callback(self.pointer, callback, self.abort.address)
        self.batch_size = batch
        self._tokens = np.zeros(batch, dtype=np.int32)
        self._positions = np.zeros(batch, dtype=np.int32)
        self._outputs = np.zeros(batch, dtype=np.int8)
        self._counts = np.ones(batch, dtype=np.int32)
        self._sequences = np.zeros(batch, dtype=np.int32)
        addresses = self._sequences.ctypes.data + 4 * np.arange(batch, dtype=np.uint64)
        self._sequence_pointers = addresses.astype(np.uint64)
        self._batch = Batch(
            token=self._tokens.ctypes.data,
            pos=self._positions.ctypes.data,
            n_seq_id=self._counts.ctypes.data,
            seq_id=self._sequence_pointers.ctypes.data,
            logits=self._outputs.ctypes.data,
        )

    def prefill(self, sequence: int, tokens: np.ndarray, position: int, first_output: int) -> bool:
        """Computes `tokens` (int32 [n], n <= `batch_size`) at `position` of `sequence`.

        Args:
            first_output: the logits of this row and those after it are wanted; `len(tokens)`: of none.
        Returns: False if `abort` was set; the cache then holds nothing of them.
        Raises:
            LlamaError: llama.cpp failed; the sequence must be cleared.
        """
        count = len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = np.arange(position, position + count)
        self._sequences[:count] = sequence
        self._outputs[:first_output] = 0
        self._outputs[first_output:count] = 1
        return self._decode(count, self._prompt_threads)

    def prefill_embeddings(
        self, sequence: int, embeddings: np.ndarray, positions: np.ndarray, *, causal: bool, last: bool
    ) -> bool:
        """Computes embeddings (FP32 [n, n_embd], n <= `batch_size`) in the place of tokens.

        Args:
            positions: int32 [dims, n]: 4 rows with M-RoPE, else 1.
            causal: False: they all see each other.
            last: the logits of the last one are wanted (row n - 1).
        Returns: False if `abort` was set; the cache then holds nothing of them.
        Raises:
            LlamaError: llama.cpp failed; the sequence must be cleared.
        """
        count = len(embeddings)
        positions = np.ascontiguousarray(positions, dtype=np.int32)
        embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        self._sequences[:count] = sequence
        self._outputs[:count] = 0
        self._outputs[count - 1] = last
        token, position = self._batch.token, self._batch.pos
        self._batch.token, self._batch.embd = None, embeddings.ctypes.data
        self._batch.pos = positions.ctypes.data
        self._llama.llama_set_causal_attn(self.pointer, causal)
        try:
            return self._decode(count, self._prompt_threads)
        finally:
            self._llama.llama_set_causal_attn(self.pointer, True)
            self._batch.token, self._batch.embd, self._batch.pos = token, None, position

    def step(self, steps: Iterable[tuple[int, int, int]]) -> None:
        """Computes one token each of several sequences: (sequence, token, position). Logits: `logits(row)`.

        Raises:
            LlamaError: llama.cpp failed; these sequences must be cleared.
        """
        count = 0
        for sequence, token, position in steps:
            self._tokens[count] = token
            self._positions[count] = position
            self._sequences[count] = sequence
            count += 1
        self._outputs[:count] = 1
        if not self._decode(count, self._step_threads):
            raise LlamaError("a decoding step was aborted")

    def _decode(self, count: int, threads: int) -> bool:
        self._llama.llama_set_n_threads(self.pointer, threads, threads)
        self._batch.n_tokens = count
        code = self._llama.llama_decode(self.pointer, self._batch)
        if code == ABORTED:
            return False
        if code != 0:
            raise self._llama.failure(f"llama_decode failed with code {code}")
        return True

    def logits(self, row: int) -> np.ndarray:
        """FP32 [vocab_size]: the logits of a row of the last batch, in llama.cpp's own memory until the next one."""
        pointer = self._llama.llama_get_logits_ith(self.pointer, row)
        if not pointer:
            raise LlamaError(f"no logits for row {row}")
        return np.frombuffer((ctypes.c_float * self._vocab_size).from_address(pointer), dtype=np.float32)

    def keep(self, sequence: int, length: int) -> bool:
        """Cuts a sequence to its first `length` tokens.

        Returns: False where the model's kind of memory allows no cut: the whole sequence was cleared.
        """
        if self._llama.llama_memory_seq_rm(self._memory, sequence, length, -1):
            return True
        self._llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return length == 0

    def close(self) -> None:
        if self.pointer:
            self._llama.llama_free(self.pointer)
            self.pointer = None
