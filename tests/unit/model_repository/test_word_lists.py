from __future__ import annotations

import numpy as np
import pytest

from tests.support.engine_client import word_list
from tests.support.model_modules import model_module

word_lists = model_module("llama_cpp", "word_lists")
PROMPT = np.array([50, 51, 52], dtype=np.int32)


def test_reads_what_is_written() -> None:
    words = [(1, 2, 3), (4,), (5, 6)]
    assert word_lists.read_word_list(word_list(*words), 100) == words
    assert word_lists.read_word_list(np.zeros((2, 0), np.int32), 100) == []
    assert word_lists.read_word_list(np.array([[7, 0], [-1, -1]]), 100) == []


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ([[1], [2], [3]], "shape"),
        ([[1, 2], [2, 2]], "end offset 2"),
        ([[1, 2], [0, 1]], "end offset 0"),
        ([[1, 2], [3, -1]], "end offset 3"),
        ([[1, 2], [-2, -1]], "end offset -2"),
        ([[1, 2], [-1, 2]], "then only -1"),
        ([[1, 100], [2, -1]], "0 to 99"),
        ([[1, -5], [2, -1]], "0 to 99"),
        ([[0] * 9000, [-1] * 9000], "at most"),
    ],
)
def test_refuses_what_is_no_list(tensor: list[list[int]], message: str) -> None:
    with pytest.raises(word_lists.WordListError, match=message):
        word_lists.read_word_list(np.array(tensor, dtype=np.int32), 100)


def test_stop_words() -> None:
    stops = word_lists.StopWords([(1, 2, 3), (9, 3), (7,)])
    assert [stops.end(answer) for answer in ([3], [2, 3], [1, 2, 3], [0, 1, 2, 3], [9, 3], [7], [1, 2])] == [
        *(False, False, True, True, True, True, False)
    ]


def banned(words: list[tuple[int, ...]], answer: list[int]) -> list[int]:
    logits = np.zeros(100, np.float32)
    word_lists.BadWords(words).ban(logits, PROMPT, answer)
    return np.flatnonzero(logits == -np.inf).tolist()


def test_bad_words() -> None:
    words = [(1, 2, 3), (1, 2, 4), (5,), (9, 2, 6), (51, 52, 7), (52, 1, 8)]
    assert banned(words, []) == [5, 7]
    assert banned(words, [1]) == [5, 8]
    assert banned(words, [1, 2]) == [3, 4, 5]
    assert banned(words, [9, 2]) == [5, 6]
    assert banned([(49, 50, 51, 52, 1)], []) == []  # longer than the prompt
