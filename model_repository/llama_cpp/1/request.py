"""What a request asks for, read from its tensors and checked.

Names, dtypes and meaning are those of TensorRT-LLM's `tensorrt_llm` model; docs/cpu-engine.md lists the differences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .sampling import SamplingParameters, SparseBias, sparse_bias
from .word_lists import Word, WordListError, read_word_list

MAX_ALTERNATIVES = 128
MAX_SCOPE = 1024  # bytes
MEDIA_MARK = -1  # in `input_ids`, where a medium stands


class RequestError(ValueError):
    """A tensor holds what cannot be served; the message names it."""

    def __init__(self, tensor: str, problem: str) -> None:
        super().__init__(f"{tensor}: {problem}")


class QueueFull(Exception):
    """No more requests are taken at present; the message says what is full."""


@dataclass(frozen=True)
class Limits:
    """What requests are checked against.

    context_length   tokens of prompt and answer together
    vocab_size       token ids are 0 <= id < vocab_size
    end_ids          the model's own end tokens
    exclude_input    default of `exclude_input_in_output`
    media            whether -1 may stand in a prompt, in the place of an image or a recording
    lora_tasks       task ids of the adapters that are loaded
    """

    context_length: int
    vocab_size: int
    end_ids: tuple[int, ...]
    exclude_input: bool = True
    media: bool = False
    lora_tasks: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Request:
    """One checked request.

    prompt           int32 [n], n >= 1: its tokens, without the places of media
    media_places     for each medium, how many of the prompt's tokens come before it
    output_length    most tokens of the answer; 0 only with `prompt_log_probs`
    end_ids          tokens that end the answer; empty with `ignore_eos`
    stop_ids         further tokens that end the answer
    min_tokens       before so many tokens the answer does not end by itself
    log_probs        log probabilities of the answer's tokens are wanted
    alternatives     how many likeliest tokens per position are wanted
    prompt_log_probs log probabilities (and alternatives) of the prompt's tokens are wanted
    cache_scope      only requests of the same scope share computed prompts
    guide            (type, text) of guided decoding
    lora_task        task id of the adapter that answers; 0: the model without one
    """

    prompt: np.ndarray
    output_length: int
    sampling: SamplingParameters
    media_places: tuple[int, ...] = ()
    bias: SparseBias | None = None
    end_ids: frozenset[int] = frozenset()
    stop_ids: frozenset[int] = frozenset()
    stop_words: Sequence[Word] = field(default_factory=tuple)
    bad_words: Sequence[Word] = field(default_factory=tuple)
    min_tokens: int = 0
    log_probs: bool = False
    alternatives: int = 0
    prompt_log_probs: bool = False
    cache_scope: bytes = b""
    guide: tuple[str, str] | None = None
    lora_task: int = 0
    streaming: bool = False
    exclude_input: bool = True
    return_num_input_tokens: bool = False
    return_num_output_tokens: bool = False

    @property
    def prompt_scope(self) -> tuple[int, bytes]:
        """Prompts computed for one are of no use for another: not allowed to be, or other numbers."""
        return self.lora_task, self.cache_scope


class Tensors:
    """The input tensors, without their batch dimension of 1."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._tensors = tensors

    def flat(self, name: str) -> np.ndarray | None:
        tensor = self._tensors.get(name)
        return None if tensor is None else tensor.reshape(-1)

    def matrix(self, name: str) -> np.ndarray | None:
        tensor = self._tensors.get(name)
        return None if tensor is None else tensor.reshape(tensor.shape[-2:])

    def scalar(self, name: str) -> np.generic | None:
        tensor = self.flat(name)
        if tensor is None:
            return None
        if len(tensor) != 1:
            raise RequestError(name, f"one value is needed, not {len(tensor)}")
        return tensor[0]

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.scalar(name)
        if value is None:
            return default
        if not low <= int(value) <= high:
            raise RequestError(name, f"must be from {low} to {high}, not {int(value)}")
        return int(value)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self.scalar(name)
        if value is None:
            return default
        if not math.isfinite(value) or not low <= float(value) <= high:
            raise RequestError(name, f"must be a number from {low:g} to {high:g}, not {float(value):g}")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.scalar(name)
        return default if value is None else bool(value)

    def text(self, name: str) -> str | None:
        value = self.scalar(name)
        if value is None:
            return None
        try:
            return value.decode("utf-8") if isinstance(value, bytes) else str(value)
        except UnicodeDecodeError:
            raise RequestError(name, "must be UTF-8") from None


def read_request(tensors: Mapping[str, np.ndarray], limits: Limits) -> Request:
    """Reads a request.

    Args:
        tensors: input tensors by name, with a leading batch dimension of 1.
    Raises:
        RequestError: a tensor is missing, malformed, or asks for what cannot be.
    """
    reader = Tensors(tensors)
    prompt, media_places = _prompt(reader, limits)
    if reader.scalar("request_output_len") is None:
        raise RequestError("request_output_len", "is needed")
    prompt_log_probs = reader.flag("return_prompt_log_probs")
    output_length = reader.integer("request_output_len", 0, 0 if prompt_log_probs else 1, 2**31 - 1)
    if media_places and prompt_log_probs:
        raise RequestError("return_prompt_log_probs", "is not possible for a prompt with media")
    # What media take is known when they have been read; the answer then gets what is left.
    if not media_places and len(prompt) + output_length > limits.context_length:
        raise RequestError(
            "request_output_len",
            f"prompt ({len(prompt)} tokens) and answer (up to {output_length}) together exceed "
            f"the {limits.context_length} tokens of the context",
        )
    end_ids = _end_ids(reader, limits)
    return Request(
        prompt=prompt,
        media_places=media_places,
        output_length=output_length,
        sampling=_sampling(reader),
        bias=_bias(reader, limits.vocab_size),
        end_ids=frozenset() if reader.flag("ignore_eos") else frozenset(end_ids),
        stop_ids=frozenset(_token_ids(reader, "stop_token_ids", limits.vocab_size)),
        stop_words=_words(reader, "stop_words_list", limits.vocab_size),
        bad_words=_words(reader, "bad_words_list", limits.vocab_size),
        min_tokens=reader.integer("min_tokens", 0, 0, output_length),
        log_probs=reader.flag("return_log_probs"),
        alternatives=reader.integer("top_logprobs", 0, 0, min(MAX_ALTERNATIVES, limits.vocab_size)),
        prompt_log_probs=prompt_log_probs,
        cache_scope=_cache_scope(reader),
        guide=_guide(reader),
        lora_task=_lora_task(reader, limits),
        streaming=reader.flag("streaming"),
        exclude_input=reader.flag("exclude_input_in_output", limits.exclude_input),
        return_num_input_tokens=reader.flag("return_num_input_tokens"),
        return_num_output_tokens=reader.flag("return_num_output_tokens"),
    )


def _prompt(reader: Tensors, limits: Limits) -> tuple[np.ndarray, tuple[int, ...]]:
    prompt = reader.flat("input_ids")
    if prompt is None or not len(prompt):
        raise RequestError("input_ids", "at least one token is needed")
    # Shorter than the tensor where the client padded it.
    length = reader.integer("input_lengths", len(prompt), 1, len(prompt))
    prompt = np.ascontiguousarray(prompt[:length], dtype=np.int32)
    places: tuple[int, ...] = ()
    if limits.media:
        marks = np.flatnonzero(prompt == MEDIA_MARK)
        places = tuple((marks - np.arange(len(marks))).tolist())
        prompt = np.delete(prompt, marks)
        if not len(prompt):
            raise RequestError("input_ids", "at least one token is needed beside the media")
    if prompt.min() < 0 or prompt.max() >= limits.vocab_size:
        raise RequestError("input_ids", f"token ids must be from 0 to {limits.vocab_size - 1}")
    return prompt, places


def _end_ids(reader: Tensors, limits: Limits) -> tuple[int, ...]:
    end_id = reader.integer("end_id", -1, -1, limits.vocab_size - 1)
    return limits.end_ids if end_id == -1 else (end_id,)


def _sampling(reader: Tensors) -> SamplingParameters:
    largest = 3.4e38
    # Where a request sets none of these, TensorRT-LLM takes the likeliest token.
    names = ("temperature", "runtime_top_k", "runtime_top_p", "min_p")
    given = any(reader.scalar(name) is not None for name in names)
    # TensorRT-LLM takes a top-p of 0 or less as not set.
    top_p = reader.number("runtime_top_p", 1.0, -largest, 1.0)
    seed = reader.scalar("seed")
    return SamplingParameters(
        temperature=reader.number("temperature", 1.0, 0.0, largest) if given else 0.0,
        top_k=reader.integer("runtime_top_k", 0, 0, 2**31 - 1),
        top_p=top_p if top_p > 0.0 else 1.0,
        min_p=reader.number("min_p", 0.0, 0.0, 1.0),
        repetition_penalty=reader.number("repetition_penalty", 1.0, 1e-6, largest),
        presence_penalty=reader.number("presence_penalty", 0.0, -largest, largest),
        frequency_penalty=reader.number("frequency_penalty", 0.0, -largest, largest),
        seed=None if seed is None else int(seed),
    )


def _bias(reader: Tensors, vocab_size: int) -> SparseBias | None:
    dense = reader.flat("embedding_bias")
    if dense is None or not len(dense):
        return None
    if len(dense) != vocab_size:
        raise RequestError("embedding_bias", f"{vocab_size} values are needed, not {len(dense)}")
    if np.isnan(dense).any():
        raise RequestError("embedding_bias", "must not hold NaN")
    if (dense == -np.inf).all():
        raise RequestError("embedding_bias", "bans every token")
    return sparse_bias(dense)


def _token_ids(reader: Tensors, name: str, vocab_size: int) -> list[int]:
    ids = reader.flat(name)
    if ids is None:
        return []
    if len(ids) and (ids.min() < 0 or ids.max() >= vocab_size):
        raise RequestError(name, f"token ids must be from 0 to {vocab_size - 1}")
    return [int(token) for token in ids]


def _words(reader: Tensors, name: str, vocab_size: int) -> list[Word]:
    tensor = reader.matrix(name)
    if tensor is None:
        return []
    try:
        return read_word_list(tensor, vocab_size)
    except WordListError as error:
        raise RequestError(name, str(error)) from None


def _cache_scope(reader: Tensors) -> bytes:
    scope = reader.text("cache_scope") or ""
    if len(scope.encode()) > MAX_SCOPE:
        raise RequestError("cache_scope", f"at most {MAX_SCOPE} bytes, not {len(scope.encode())}")
    return scope.encode()


def _guide(reader: Tensors) -> tuple[str, str] | None:
    kind = reader.text("guided_decoding_guide_type")
    text = reader.text("guided_decoding_guide")
    if not kind:
        if text:
            raise RequestError("guided_decoding_guide", "needs guided_decoding_guide_type")
        return None
    return kind, text or ""


def _lora_task(reader: Tensors, limits: Limits) -> int:
    task = reader.scalar("lora_task_id")
    if task is None:
        return 0
    if int(task) not in limits.lora_tasks:
        known = ", ".join(map(str, sorted(limits.lora_tasks)))
        raise RequestError("lora_task_id", f"no adapter {int(task)} is loaded; known are: {known}")
    return int(task)
