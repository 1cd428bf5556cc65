"""Stop words and bad words: token sequences that end an answer, or must not occur in it.

Wire format (TensorRT-LLM's `to_word_list_format`): INT32 [2, n]; row 0 the token ids of all words one after another,
row 1 the end offset of each word in row 0, the rest filled with -1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Word = tuple[int, ...]
MAX_TOKENS = 8192  # in one list


class WordListError(ValueError):
    """The tensor does not hold a word list; the message says what is wrong."""


def read_word_list(tensor: np.ndarray, vocab_size: int) -> list[Word]:
    """The words of a tensor INT32 [2, n]; n may be 0.

    Raises:
        WordListError: the shape, an offset or a token id is not valid.
    """
    if tensor.ndim != 2 or tensor.shape[0] != 2:
        raise WordListError(f"shape must be [2, n], not {list(tensor.shape)}")
    if tensor.shape[1] > MAX_TOKENS:
        raise WordListError(f"at most {MAX_TOKENS} tokens, not {tensor.shape[1]}")
    ids, offsets = tensor.tolist()
    count = next((index for index, offset in enumerate(offsets) if offset == -1), len(offsets))
    if any(offset != -1 for offset in offsets[count:]):
        raise WordListError("row 1 must hold end offsets and then only -1")
    words: list[Word] = []
    start = 0
    for end in offsets[:count]:
        if not start < end <= len(ids):
            raise WordListError(f"end offset {end} must lie above {start} and within {len(ids)}")
        word = tuple(ids[start:end])
        if any(not 0 <= token < vocab_size for token in word):
            raise WordListError(f"token ids must be from 0 to {vocab_size - 1}")
        words.append(word)
        start = end
    return words


class StopWords:
    """Whether the answer's newest tokens are a stop word. Words never reach back into the prompt."""

    def __init__(self, words: Sequence[Word]) -> None:
        self._by_last: dict[int, list[Word]] = {}
        for word in words:
            self._by_last.setdefault(word[-1], []).append(word)

    def end(self, answer: Sequence[int]) -> bool:
        """Whether one ends with the last token of `answer`."""
        for word in self._by_last.get(answer[-1], ()):
            if len(word) <= len(answer) and tuple(answer[len(answer) - len(word) :]) == word:
                return True
        return False


class BadWords:
    """Tokens that would complete a bad word. As in TensorRT-LLM, the beginning of a word may stand in the prompt."""

    def __init__(self, words: Sequence[Word]) -> None:
        self._always = sorted({word[0] for word in words if len(word) == 1})
        self._by_previous: dict[int, list[Word]] = {}
        for word in words:
            if len(word) > 1:
                self._by_previous.setdefault(word[-2], []).append(word)

    def ban(self, logits: np.ndarray, prompt: np.ndarray, answer: Sequence[int]) -> None:
        """Sets the logits (FP32 [vocab]) of tokens that would complete a word to -inf, in place."""
        if self._always:
            logits[self._always] = -np.inf
        if not self._by_previous:
            return
        previous = answer[-1] if answer else int(prompt[-1])
        for word in self._by_previous.get(previous, ()):
            if _ends_with(prompt, answer, word[:-1]):
                logits[word[-1]] = -np.inf


def _ends_with(prompt: np.ndarray, answer: Sequence[int], tail: Word) -> bool:
    missing = len(tail) - len(answer)
    if missing <= 0:
        return tuple(answer[-len(tail) :]) == tail
    return len(prompt) >= missing and (*prompt[-missing:].tolist(), *answer) == tail
