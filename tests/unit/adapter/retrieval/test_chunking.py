from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.retrieval import chunking
from adapter.retrieval.chunking import Span, TokenizedText, chunks, tokenized, windows
from tokentext import TextTokenizer

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dogs", "and", "runs", "away"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """A WordPiece tokenizer as BERT's, of few words and all letters."""
    folder = tmp_path_factory.mktemp("tokenizer")
    letters = [prefix + letter for letter in "abcdefghijklmnopqrstuvwxyz" for prefix in ("", "##")]
    vocabulary = ["[UNK]", "[CLS]", "[SEP]", *WORDS, *letters, ".", ","]
    ids = {token: index for index, token in enumerate(dict.fromkeys(vocabulary))}
    special = [
        {
            "id": ids[token],
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token in ("[UNK]", "[CLS]", "[SEP]")
    ]
    description = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing",
            "sep": ["[SEP]", ids["[SEP]"]],
            "cls": ["[CLS]", ids["[CLS]"]],
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(description))
    return TextTokenizer(Path(folder))


@given(st.integers(0, 5000), st.integers(1, 900), st.floats(0, 0.5))
def test_chunks_cover_all_tokens_with_the_overlap_that_was_asked_for(tokens: int, size: int, part: float) -> None:
    overlap = int(size * part)
    found = chunks(tokens, size, overlap)
    assert not found or (found[0].first == 0 and found[-1].end == tokens)
    assert bool(found) == (tokens > 0)
    assert all(0 < span.end - span.first <= size for span in found)
    assert all(span.end - span.first == size for span in found[:-1])
    for before, after in pairwise(found):
        assert before.end - after.first == overlap
        assert after.end > before.end  # each brings something new


@given(st.integers(0, 100), st.integers(1, 5000), st.integers(1, 512))
def test_windows_are_the_chunk_in_parts_that_a_model_can_read(first: int, length: int, longest: int) -> None:
    found = windows(Span(first, first + length), longest)
    assert found[0].first == first and found[-1].end == first + length
    assert all(before.end == after.first for before, after in pairwise(found))
    sizes = [span.end - span.first for span in found]
    assert max(sizes) <= longest and min(sizes) >= max(sizes) - 1 and min(sizes) > 0
    assert len(found) == -(-length // longest)


@given(text=st.text(alphabet="abc dé.\n\t中😀\x00\ud800", max_size=400), size=st.integers(1, 20))
def test_parts_put_together_are_the_text(tokenizer: TextTokenizer, text: str, size: int) -> None:
    found = tokenized(tokenizer, text)
    assert len(found.ids) == len(found.starts)
    assert found.starts == sorted(found.starts)
    parts = [found.part(span.first, span.end) for span in chunks(len(found.ids), size, 0)]
    assert "".join(parts) == (text.encode("utf-8", "replace").decode() if found.ids else "")


def test_a_chunk_begins_where_its_token_does(tokenizer: TextTokenizer) -> None:
    text = "  The quick brown FOX jumps, over. "
    found = tokenized(tokenizer, text)
    assert [found.part(index, index + 1) for index in range(len(found.ids))] == [
        *("  The ", "quick ", "brown ", "FOX ", "jumps", ", ", "over", ". "),
    ]


def test_long_text_is_tokenized_in_slices(tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(WORDS * 40)
    whole = tokenized(tokenizer, text)
    monkeypatch.setattr(chunking, "_SLICE", 64)
    assert tokenized(tokenizer, text) == whole
    unbroken = "fox" * 100
    assert (
        "".join(
            tokenized(tokenizer, unbroken).part(span.first, span.end)
            for span in chunks(len(tokenized(tokenizer, unbroken).ids), 7, 0)
        )
        == unbroken
    )


def test_special_tokens_around_a_text(tokenizer: TextTokenizer) -> None:
    before, after = tokenizer.surroundings()
    text: TokenizedText = tokenized(tokenizer, "the fox")
    assert [*before, *text.ids, *after] == tokenizer.encode("the fox", add_special_tokens=True)
    assert len(before) == len(after) == 1
