"""Pairs are what the `tokenizers` library itself makes of tuples, cut off as its `only_second` cuts them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, processors

from tests.unit.tokentext.tokenizer_kinds import SAMPLES, byte_level, write_folder
from tokentext import TextTokenizer
from tokentext.pairs import TokenPair

QUERY = "Hello, world?"
AROUND = {"bert": 3, "xlm-roberta": 4}


@pytest.fixture(params=AROUND)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def library(kind: str) -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|start|>", "<|end|>"])
    ids = {token: tokenizer.token_to_id(token) for token in ("<|start|>", "<|end|>")}
    if kind == "bert":
        tokenizer.post_processor = processors.BertProcessing(
            ("<|end|>", ids["<|end|>"]), ("<|start|>", ids["<|start|>"])
        )
    else:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|start|> $A <|end|>",
            pair="<|start|> $A <|end|> <|end|> $B <|end|>",
            special_tokens=list(ids.items()),
        )
    return tokenizer


@pytest.fixture
def tokenizer(library: Tokenizer, tmp_path: Path) -> TextTokenizer:
    return TextTokenizer(write_folder(tmp_path, library, None))


def wanted(library: Tokenizer, query: str, document: str, longest: int | None = None) -> tuple[list[int], list[int]]:
    if longest is not None:
        library.enable_truncation(longest, strategy="only_second")
    encoding = library.encode(query, document)
    library.no_truncation()
    return encoding.ids, encoding.type_ids


def plain(pairs: list[TokenPair]) -> list[tuple[list[int], list[int]]]:
    return [(pair.ids, pair.type_ids) for pair in pairs]


def test_one_query_for_all(kind: str, library: Tokenizer, tokenizer: TextTokenizer) -> None:
    pairs = tokenizer.encode_pairs([QUERY], SAMPLES)
    assert plain(pairs) == [wanted(library, QUERY, sample) for sample in SAMPLES]
    around = len(library.encode(QUERY, add_special_tokens=False).ids) + AROUND[kind]
    assert {pair.query_tokens for pair in pairs} == {around}
    assert len(pairs[0].ids) == around, "an empty document"


def test_a_query_for_each(library: Tokenizer, tokenizer: TextTokenizer) -> None:
    queries = SAMPLES[::-1]
    pairs = tokenizer.encode_pairs(queries, SAMPLES)
    assert plain(pairs) == [wanted(library, *pair) for pair in zip(queries, SAMPLES, strict=True)]


@pytest.mark.parametrize("room", [1, 2, 5, 1000])
def test_the_end_of_a_document_is_cut_off(kind: str, library: Tokenizer, tokenizer: TextTokenizer, room: int) -> None:
    longest = len(library.encode(QUERY, add_special_tokens=False).ids) + AROUND[kind] + room
    pairs = tokenizer.encode_pairs([QUERY], SAMPLES, longest=longest)
    assert plain(pairs) == [wanted(library, QUERY, sample, longest) for sample in SAMPLES]
    assert max(len(pair.ids) for pair in pairs) <= longest


def test_a_document_can_have_a_limit_of_its_own(tokenizer: TextTokenizer) -> None:
    whole, cut, both = (
        tokenizer.encode_pairs([QUERY], [SAMPLES[2]], **limits)[0]
        for limits in ({}, {"longest_document": 3}, {"longest_document": 3, "longest": 1000})
    )
    assert cut == both and len(cut.ids) == cut.query_tokens + 3 < len(whole.ids)
    assert tokenizer.encode_pairs([QUERY], [SAMPLES[2]], longest=cut.query_tokens + 2, longest_document=3)[0].ids == [
        *cut.ids[: cut.query_tokens + 1],
        cut.ids[-1],
    ]


def test_a_query_is_never_cut(library: Tokenizer, tokenizer: TextTokenizer) -> None:
    (pair,) = tokenizer.encode_pairs([QUERY], ["Hello"], longest=4)
    assert (pair.ids, pair.type_ids) == wanted(library, QUERY, "Hello")
    assert pair.query_tokens >= 4


def test_half_of_a_surrogate_pair_is_refused(tokenizer: TextTokenizer) -> None:
    with pytest.raises(UnicodeEncodeError):
        tokenizer.encode_pairs(["\ud800"], ["a"])
    assert tokenizer.encode_pairs([], []) == []
