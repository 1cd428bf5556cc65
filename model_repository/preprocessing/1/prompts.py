"""What a request says in words, as the token ids and tensors that the engine takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tokentext.template import TemplateError
from tokentext.tokenizer import TextTokenizer

MAX_WORDS = 1024  # in one list


class PromptError(ValueError):
    """The request holds what cannot be a prompt; the message names the tensor."""


@dataclass(frozen=True)
class Settings:
    """Parameters of the model: `end_ids`, the first of which is the engine's `end_id`, and so on."""

    context_length: int
    vocab_size: int
    end_ids: tuple[int, ...]
    pad_id: int
    add_special_tokens: bool


class PromptMaker:
    """Makes the engine's input tensors.

    Args:
        tokenizer: the model's.
    """

    def __init__(self, tokenizer: TextTokenizer, settings: Settings) -> None:
        self._tokenizer = tokenizer
        self._settings = settings

    def make(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Input tensors by name to output tensors by name, both with a leading batch dimension of 1.

        Raises:
            PromptError: no prompt or two, text that is not UTF-8, messages that the chat template refuses, ...
        """
        source, prompt = self._prompt(inputs)
        if not prompt:
            raise PromptError(f"{source}: the prompt is empty")
        room = self._settings.context_length - len(prompt)
        if room < 1:
            raise PromptError(
                f"{source}: the prompt has {len(prompt)} tokens; the context of {self._settings.context_length} "
                "leaves no room"
            )
        end_id = _integer(inputs, "END_ID", -1)
        stop_words = self._word_list(inputs, "STOP_WORDS_DICT")
        if end_id == -1:
            # An engine has one end token; a model's further ones work like stop words.
            end_id, *others = self._settings.end_ids
            stop_words += [[token] for token in others]
        bad_words = self._word_list(inputs, "BAD_WORDS_DICT")
        return {
            "INPUT_ID": np.array([prompt], dtype=np.int32),
            "REQUEST_INPUT_LEN": np.array([[len(prompt)]], dtype=np.int32),
            "BAD_WORDS_IDS": word_list(bad_words),
            "STOP_WORDS_IDS": word_list(stop_words),
            "EMBEDDING_BIAS": self._bias(inputs),
            "REQUEST_OUTPUT_LEN": np.array([[_integer(inputs, "REQUEST_OUTPUT_LEN", room)]], dtype=np.int32),
            "OUT_END_ID": np.array([[end_id]], dtype=np.int32),
            "OUT_PAD_ID": np.array([[_integer(inputs, "PAD_ID", self._settings.pad_id)]], dtype=np.int32),
        }

    def _prompt(self, inputs: Mapping[str, np.ndarray]) -> tuple[str, list[int]]:
        """The name of the tensor that holds it, and its tokens."""
        queries, messages = _strings(inputs, "QUERY"), _strings(inputs, "MESSAGES")
        # A client of an ensemble may have to fill in every tensor: an empty text counts as none.
        texts = [text for text in queries if text]
        chats = [text for text in messages if text]
        if len(texts) + len(chats) != 1:
            raise PromptError("QUERY: exactly one of QUERY and MESSAGES is needed")
        if texts:
            return "QUERY", self._tokenizer.encode(texts[0], add_special_tokens=self._settings.add_special_tokens)
        return "MESSAGES", self._tokenizer.encode(self._render(chats[0]), add_special_tokens=False)

    def _render(self, text: str) -> str:
        template = self._tokenizer.template
        if template is None:
            raise PromptError("MESSAGES: this model has no chat template; use QUERY")
        try:
            messages = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PromptError(f"MESSAGES: not JSON: {error}") from None
        if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
            raise PromptError("MESSAGES: a JSON array of message objects is needed")
        try:
            return template.render(messages, add_generation_prompt=True)
        except TemplateError as error:
            raise PromptError(f"MESSAGES: {error}") from None

    def _word_list(self, inputs: Mapping[str, np.ndarray], name: str) -> list[list[int]]:
        """The words' token ids. An empty one is none: Triton's own examples send "" for an empty list."""
        return [self._words(text, name) for text in _strings(inputs, name) if text]

    def _words(self, text: str, name: str) -> list[int]:
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        if not ids:
            raise PromptError(f"{name}: a word must not be empty")
        return ids

    def _bias(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """FP32 [1, vocab_size], or [1, 0] when nothing is biased. Every token of a word gets its weight added."""
        words = _strings(inputs, "EMBEDDING_BIAS_WORDS")
        weights = inputs["EMBEDDING_BIAS_WEIGHTS"].reshape(-1) if "EMBEDDING_BIAS_WEIGHTS" in inputs else np.empty(0)
        if len(words) != len(weights):
            raise PromptError(f"EMBEDDING_BIAS_WEIGHTS: {len(words)} weights are needed, not {len(weights)}")
        if not words:
            return np.empty((1, 0), dtype=np.float32)
        bias = np.zeros((1, self._settings.vocab_size), dtype=np.float32)
        for word, weight in zip(words, weights, strict=True):
            for token in self._words(word, "EMBEDDING_BIAS_WORDS"):
                bias[0, token] += weight
        return bias


def word_list(words: Sequence[Sequence[int]]) -> np.ndarray:
    """TensorRT-LLM's wire format: INT32 [1, 2, n], row 0 all tokens, row 1 end offsets filled with -1."""
    ids = [token for word in words for token in word]
    offsets = np.full(len(ids), -1, dtype=np.int32)
    offsets[: len(words)] = np.cumsum([len(word) for word in words], dtype=np.int32)
    return np.array([[ids, offsets]], dtype=np.int32).reshape(1, 2, len(ids))


def _strings(inputs: Mapping[str, np.ndarray], name: str) -> list[str]:
    if name not in inputs:
        return []
    values = inputs[name].reshape(-1)
    if len(values) > MAX_WORDS:
        raise PromptError(f"{name}: at most {MAX_WORDS} strings, not {len(values)}")
    try:
        return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values]
    except UnicodeDecodeError:
        raise PromptError(f"{name}: must be UTF-8") from None


def _integer(inputs: Mapping[str, np.ndarray], name: str, default: int) -> int:
    if name not in inputs:
        return default
    values = inputs[name].reshape(-1)
    if len(values) != 1:
        raise PromptError(f"{name}: one value is needed, not {len(values)}")
    return int(values[0])
