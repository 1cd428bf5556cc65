"""The incremental detokenizer against the `tokenizers` library's own decoding of the whole sequence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.tokentext.tokenizer_kinds import KINDS, SAMPLES, SPECIAL, TABLE_KINDS, WINDOW_KINDS
from tokentext import IncrementalDetokenizer, TextTokenizer

Tokenizers = dict[str, TextTokenizer]
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# Byte tokens in the SentencePiece kinds: an invalid run differs from the library on purpose.
FALLBACK_KINDS = [
    "llama_like", "strip_three", "gemma_like", "metaspace_always", "metaspace_first", "metaspace_never"
]  # fmt: skip
EXACT_KINDS = sorted(set(KINDS) - set(FALLBACK_KINDS) - {"byte_fallback_without_table"})


def pushed(tokenizer: TextTokenizer, chunks: Sequence[Sequence[int]], skip: bool = True) -> str:
    detokenizer = IncrementalDetokenizer(tokenizer, skip_special_tokens=skip)
    return "".join([detokenizer.push(chunk) for chunk in chunks]) + detokenizer.flush()


def cut(ids: Sequence[int], places: Sequence[int]) -> list[Sequence[int]]:
    borders = [0, *sorted(place % (len(ids) + 1) for place in places), len(ids)]
    return [ids[start:end] for start, end in itertools.pairwise(borders)]


def ids_of(tokenizer: TextTokenizer, text: str) -> list[int]:
    """With what the vocabulary cannot spell as it is: the decoders, not the models, are under test."""
    return tokenizer.encode(text)


def naive(tokenizer: TextTokenizer, ids: Sequence[int], skip: bool) -> str:
    """The documented text of a tokenizer with a byte table: all bytes laid end to end, then the start rule."""
    rules = tokenizer.rules
    assert rules is not None
    tokens = [
        token
        for token in (tokenizer.visible_token(i, tokenizer.special_ids if skip else frozenset()) for i in ids)
        if token is not None
    ]
    parts = [rules.first_to_bytes(token) if not place else rules.to_bytes(token) for place, token in enumerate(tokens)]
    text = b"".join(parts).decode("utf-8", "replace")
    character, most = rules.strip
    for _ in range(most):
        text = text.removeprefix(character)
    return text


def test_the_kinds_take_the_path_they_are_named_for(tokenizers_by_kind: Tokenizers) -> None:
    for kind in TABLE_KINDS:
        assert tokenizers_by_kind[kind].pieces(frozenset()) is not None, kind
    for kind in WINDOW_KINDS:
        assert tokenizers_by_kind[kind].pieces(frozenset()) is None, kind


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("text", SAMPLES)
def test_every_sample_at_every_split(tokenizers_by_kind: Tokenizers, kind: str, text: str) -> None:
    tokenizer = tokenizers_by_kind[kind]
    ids = ids_of(tokenizer, text)
    whole = tokenizer.decode(ids)
    assert pushed(tokenizer, [[i] for i in ids]) == whole
    for place in range(len(ids) + 1):
        assert pushed(tokenizer, [ids[:place], [], ids[place:]]) == whole


@pytest.mark.parametrize("text", SAMPLES)
def test_byte_level_gives_back_the_very_text(byte_level: TextTokenizer, text: str) -> None:
    assert pushed(byte_level, [[i] for i in byte_level.encode(text)]) == text


@pytest.mark.parametrize("kind", EXACT_KINDS)
@pytest.mark.parametrize("skip", [True, False])
@given(data=st.data())
@many
def test_any_ids_in_any_cut(tokenizers_by_kind: Tokenizers, kind: str, skip: bool, data: st.DataObject) -> None:
    tokenizer = tokenizers_by_kind[kind]
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=40))
    places = data.draw(st.lists(st.integers(0, 40), max_size=6))
    assert pushed(tokenizer, cut(ids, places), skip) == tokenizer.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("kind", FALLBACK_KINDS)
@pytest.mark.parametrize("skip", [True, False])
@given(data=st.data())
@many
def test_byte_tokens_are_decoded_character_by_character(
    tokenizers_by_kind: Tokenizers, kind: str, skip: bool, data: st.DataObject
) -> None:
    tokenizer = tokenizers_by_kind[kind]
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=40))
    places = data.draw(st.lists(st.integers(0, 40), max_size=6))
    assert pushed(tokenizer, cut(ids, places), skip) == naive(tokenizer, ids, skip)


@pytest.mark.parametrize("kind", [*FALLBACK_KINDS, "byte_fallback_without_table"])
@given(text=st.text(max_size=20), spaces=st.integers(0, 4), places=st.lists(st.integers(0, 80), max_size=5))
@many
def test_texts_spelled_in_byte_tokens(
    tokenizers_by_kind: Tokenizers, kind: str, text: str, spaces: int, places: list[int]
) -> None:
    """Valid runs, however long, agree with the library."""
    tokenizer = tokenizers_by_kind[kind]
    space, *spelled = [tokenizer.token_id(token) for token in ["▁", *(f"<0x{byte:02X}>" for byte in text.encode())]]
    ids = [i for i in [space] * spaces + spelled if i is not None]
    if kind.startswith("metaspace"):  # has no byte fallback: the tokens are plain text
        text = "".join(f"<0x{byte:02X}>" for byte in text.encode())
    assert pushed(tokenizer, cut(ids, places)) == tokenizer.decode(ids)
    assert tokenizer.decode(ids).endswith(text.lstrip(" "))  # the start rule may take leading spaces


@given(data=st.binary(max_size=24), places=st.lists(st.integers(0, 24), max_size=5))
@many
def test_any_bytes(byte_level: TextTokenizer, data: bytes, places: list[int]) -> None:
    """Also invalid ones: U+FFFD exactly as the library puts it."""
    ids = [byte_level.token_id(alphabet_character(byte)) for byte in data]
    known = [i for i in ids if i is not None]
    assert len(known) == len(data)
    assert pushed(byte_level, cut(known, places)) == byte_level.decode(known) == data.decode("utf-8", "replace")


@pytest.mark.parametrize(
    "data",
    [
        b"\xf0\x9f\x98",  # ends inside a character
        b"\xf0\x9f\x98a",  # a character that is broken off
        b"\xc3\xc3\xa9",
        b"\x80\xbf",  # continuation bytes alone
        b"\xed\xa0\x80",  # half of a surrogate pair
        b"\xf4\x90\x80\x80",  # beyond U+10FFFF
        b"\xc0\xaf\xe0\x80\xaf",  # longer than needed
        b"\xff\xfe",
        b"a\xe6\x97b\xe6\x97\xa5",
    ],
)
def test_invalid_bytes_one_at_a_time(byte_level: TextTokenizer, data: bytes) -> None:
    ids = [byte_level.token_id(alphabet_character(byte)) or 0 for byte in data]
    assert pushed(byte_level, [[i] for i in ids]) == byte_level.decode(ids) == data.decode("utf-8", "replace")


@pytest.mark.parametrize("text", SAMPLES)
def test_text_is_shown_as_soon_as_it_is_certain(byte_level: TextTokenizer, text: str) -> None:
    """Nothing but an incomplete character is held back, and it is never shown in part."""
    detokenizer = IncrementalDetokenizer(byte_level)
    shown = ""
    data = b""
    for token_id in byte_level.encode(text):
        shown += detokenizer.push([token_id])
        data += byte_level.token_bytes(token_id)
        assert shown == data.decode("utf-8", "ignore")
    assert text.startswith(shown)


@pytest.mark.parametrize("kind", sorted(WINDOW_KINDS))
def test_the_window_stays_short_and_prompt(tokenizers_by_kind: Tokenizers, kind: str) -> None:
    tokenizer = tokenizers_by_kind[kind]
    vocabulary = [i for i in range(tokenizer.vocab_size) if tokenizer.decode([i]).strip("\ufffd ")]
    ids = (vocabulary * (2000 // len(vocabulary)))[:1500]
    detokenizer = IncrementalDetokenizer(tokenizer)
    shown = ""
    for count, token_id in enumerate(ids, start=1):
        shown += detokenizer.push([token_id])
        if count % 500 == 0:
            # A word's end may wait for the next word.
            assert len(shown) >= len(tokenizer.decode(ids[: count - 2]))
    window = detokenizer._window
    assert window is not None
    assert len(window._ids) < 70
    assert shown + detokenizer.flush() == tokenizer.decode(ids)


def test_a_window_that_never_becomes_certain_is_given_out(tokenizers_by_kind: Tokenizers) -> None:
    tokenizer = tokenizers_by_kind["byte_fallback_without_table"]
    broken = tokenizer.token_id("<0x80>") or 0
    detokenizer = IncrementalDetokenizer(tokenizer)
    pieces = [detokenizer.push([broken]) for _ in range(100)]
    assert "\ufffd" in "".join(pieces)
    assert "".join(pieces) + detokenizer.flush() == "\ufffd" * 100


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_special_tokens_hidden_or_shown(tokenizers_by_kind: Tokenizers, kind: str) -> None:
    tokenizer = tokenizers_by_kind[kind]
    start, end = (tokenizer.token_id(token) for token in SPECIAL)
    added = tokenizer.token_id("<tool call>")
    assert start is not None and end is not None and added is not None
    word = 2
    ids = [start, word, added, end, word]
    hidden = pushed(tokenizer, [[i] for i in ids])
    shown = pushed(tokenizer, [[i] for i in ids], skip=False)
    assert hidden == tokenizer.decode(ids)
    assert shown == tokenizer.decode(ids, skip_special_tokens=False)
    assert "<tool call>" in hidden and "<|start|>" not in hidden and "<|end|>" not in hidden
    assert "<|start|>" in shown and "<|end|>" in shown


def test_a_hidden_token_does_not_use_up_the_rule_of_the_first(tokenizers_by_kind: Tokenizers) -> None:
    """`<s>` before the answer must not bring back the space that is dropped at its start."""
    for kind in ("llama_like", "metaspace_always", "metaspace_first"):
        tokenizer = tokenizers_by_kind[kind]
        start, word = tokenizer.token_id("<|start|>"), tokenizer.token_id("▁Hello")
        assert start is not None and word is not None
        assert pushed(tokenizer, [[start], [word], [word]]) == "Hello Hello"
        assert pushed(tokenizer, [[10**9], [word], [word]]) == "Hello Hello"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_ids_outside_the_vocabulary_add_nothing(tokenizers_by_kind: Tokenizers, kind: str) -> None:
    tokenizer = tokenizers_by_kind[kind]
    outside = [-1, -(2**31), -(2**63), tokenizer.vocab_size, 2**31 - 1, 2**32 - 1, 2**32, 2**33, 2**64]
    ids = [2, *outside, 3, *outside]
    text = tokenizer.decode([2, 3])
    assert tokenizer.decode(ids) == text
    assert pushed(tokenizer, [[i] for i in ids]) == text
    assert pushed(tokenizer, [ids]) == text
    assert pushed(tokenizer, [outside]) == ""
    assert all(tokenizer.token_bytes(i) == b"" for i in outside)


def test_ids_outside_the_vocabulary_are_not_stored(byte_level: TextTokenizer) -> None:
    table = byte_level.pieces(byte_level.special_ids)
    assert table is not None
    before = len(table)
    pushed(byte_level, [[i] for i in range(10**6, 10**6 + 100)])
    assert len(table) == before


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32])
def test_numpy_ids(tokenizers_by_kind: Tokenizers, kind: str, dtype: type) -> None:
    """Ids come as arrays from Triton; the table must not grow a second time for them."""
    tokenizer = TextTokenizer(tokenizers_by_kind[kind].folder)  # its table is still empty
    ids = ids_of(tokenizer, "Hello, world! 日本語") or [1, 2, 3]
    array = np.array(ids, dtype=dtype)
    assert pushed(tokenizer, [array[:1], array[1:3], array[3:]]) == tokenizer.decode(ids)
    assert tokenizer.decode(array) == tokenizer.decode(ids)  # type: ignore[arg-type]
    table = tokenizer.pieces(tokenizer.special_ids)
    assert table is None or all(type(key) is int for key in table)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_ready_for_another_sequence_after_flush(tokenizers_by_kind: Tokenizers, kind: str) -> None:
    tokenizer = tokenizers_by_kind[kind]
    ids = ids_of(tokenizer, " Hello 日本 the end") or [1, 2, 3]
    detokenizer = IncrementalDetokenizer(tokenizer)
    whole = tokenizer.decode(ids)
    for _ in range(3):
        assert "".join([detokenizer.push([i]) for i in ids]) + detokenizer.flush() == whole
        assert detokenizer.flush() == ""


def test_an_incomplete_character_is_not_carried_into_the_next_sequence(byte_level: TextTokenizer) -> None:
    first, second = (byte_level.token_id(alphabet_character(byte)) or 0 for byte in "é".encode())
    detokenizer = IncrementalDetokenizer(byte_level)
    assert detokenizer.push([first]) == ""
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.push([second]) == "\ufffd"
    assert detokenizer.push([first]) + detokenizer.push([second]) == "é"


def test_a_window_starts_empty_after_flush(tokenizers_by_kind: Tokenizers) -> None:
    tokenizer = tokenizers_by_kind["byte_fallback_without_table"]
    broken, word = tokenizer.token_id("<0xF0>") or 0, tokenizer.token_id("Hello") or 0
    detokenizer = IncrementalDetokenizer(tokenizer)
    assert detokenizer.push([word]) + detokenizer.push([broken]) == "Hello"
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.push([word]) == "Hello"


def test_many_hidden_or_empty_tokens_at_the_start_are_no_recursion(tokenizers_by_kind: Tokenizers) -> None:
    tokenizer = tokenizers_by_kind["strip_three"]
    lead, word = tokenizer.token_id("<|start|>") or 0, tokenizer.token_id("▁Hello") or 0
    half = tokenizer.token_id("<0xF0>") or 0
    assert pushed(tokenizer, [[lead] * 20_000 + [word]]) == "Hello"
    assert pushed(tokenizer, [[half] * 20_000]) == "\ufffd" * 20_000


def alphabet_character(byte: int) -> str:
    """GPT-2's published mapping (`bytes_to_unicode`), spelled out once more to check the package's."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [value for value in range(256) if value not in kept]
    return chr(byte) if byte in kept else chr(256 + others.index(byte))


@pytest.mark.parametrize("kind", ["llama_like", "metaspace_always", "metaspace_first", "byte_level"])
def test_a_sequence_that_goes_on_keeps_its_first_space(kind: str, tokenizers_by_kind: Tokenizers) -> None:
    """Before and after flush: the text of a sequence that is cut is that of its parts."""
    tokenizer = tokenizers_by_kind[kind]
    ids = ids_of(tokenizer, "Hello the fox the end")
    place = next(index for index in range(1, len(ids)) if tokenizer.decode(ids[:index]) == "Hello")
    rest = IncrementalDetokenizer(tokenizer, continues=True)
    for _ in range(2):
        text = "".join([rest.push([token]) for token in ids[place:]]) + rest.flush()
        assert text.startswith(" ")
        assert tokenizer.decode(ids[:place]) + text == tokenizer.decode(ids)
