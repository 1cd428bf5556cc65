"""Prompts with media: what a request may hold, and in which pieces it is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.model_modules import model_module

media_files = model_module("llama_cpp", "media_files")
media_prompt = model_module("llama_cpp", "media_prompt")
multimodal = model_module("llama_cpp", "multimodal")
request = model_module("llama_cpp", "request")
LIMITS = request.Limits(context_length=20, vocab_size=100, end_ids=(2,), media=True)


def tokens(*ids: int) -> Any:
    return multimodal.TokenPart(np.array(ids, np.int32))


def embeddings(count: int, *, advance: int | None = None, non_causal: bool = False) -> Any:
    values = np.arange(count, dtype=np.float32)[:, np.newaxis]
    positions = np.arange(count, dtype=np.int32)[np.newaxis]
    return multimodal.EmbeddingPart(count, positions, count if advance is None else advance, non_causal, values)


def shown(pieces: Any) -> list[Any]:
    return [
        piece.tokens.tolist() if isinstance(piece, multimodal.TokenPart) else (piece.embeddings[:, 0].tolist())
        for piece in pieces
    ]


def read(ids: list[int], **more: Any) -> Any:
    arrays = {"input_ids": np.array([ids]), "request_output_len": np.array([[4]])}
    return request.read_request({**arrays, **{name: np.array([[value]]) for name, value in more.items()}}, LIMITS)


def test_marks_become_places() -> None:
    made = read([-1, 5, 6, -1, -1, 7, -1])
    assert made.prompt.tolist() == [5, 6, 7]
    assert made.media_places == (0, 2, 2, 3)
    assert read([5]).media_places == ()


def test_the_length_is_not_judged_before_media_are_counted() -> None:
    assert read([5] * 18 + [-1]).output_length == 4
    with pytest.raises(request.RequestError, match="request_output_len: prompt"):
        read([5] * 18)


@pytest.mark.parametrize(
    "ids, more, message",
    [
        ([-1, -1], {}, "input_ids: at least one token is needed beside"),
        ([5, -2], {}, "input_ids: token ids must be from 0"),
        ([5, -1], {"return_prompt_log_probs": True}, "return_prompt_log_probs: "),
    ],
)
def test_what_a_prompt_with_media_must_not_hold(ids: list[int], more: dict[str, Any], message: str) -> None:
    with pytest.raises(request.RequestError, match=message):
        read(ids, **more)


def test_media_are_held_against_their_places() -> None:
    made = {"media": np.array([[b"a", b"b"]], dtype=object)}
    assert media_files.read_media(made, (0, 3)) == [b"a", b"b"]
    assert media_files.read_media({}, ()) == []
    with pytest.raises(request.RequestError, match=r"media: 2 files for the 1 places"):
        media_files.read_media(made, (0,))
    with pytest.raises(request.RequestError, match="media: 0 files for the 1 places"):
        media_files.read_media({}, (0,))


def test_tokens_side_by_side_are_computed_together() -> None:
    prompt = np.array([1, 2, 3], np.int32)
    media = [[tokens(50), embeddings(2), tokens(51)], [tokens(52), embeddings(1), tokens()]]
    pieces = media_prompt.pieces_of(prompt, (1, 1), media, 8)
    assert shown(pieces) == [[1, 50], [0.0, 1.0], [51, 52], [0.0], [2, 3]]


def test_pieces_are_no_longer_than_allowed() -> None:
    prompt = np.arange(5, dtype=np.int32)
    pieces = media_prompt.pieces_of(prompt, (5,), [[embeddings(5, advance=3)]], 2)
    assert shown(pieces) == [[0, 1], [2, 3], [4], [0.0, 1.0], [2.0, 3.0], [4.0]]
    split = list(pieces)[3:]
    assert [piece.positions.tolist() for piece in split] == [[[0, 1]], [[2, 3]], [[4]]]
    assert [piece.advance for piece in split] == [0, 0, 3]
    whole = media_prompt.pieces_of(prompt, (0,), [[embeddings(5, non_causal=True)]], 2)
    assert shown(whole)[0] == [0.0, 1.0, 2.0, 3.0, 4.0]
