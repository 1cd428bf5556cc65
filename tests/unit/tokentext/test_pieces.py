"""What each kind of decoder makes of one token."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import pre_tokenizers

from tests.unit.tokentext.tokenizer_kinds import TABLE_KINDS
from tokentext import TextTokenizer
from tokentext.pieces import PieceTable, byte_level_alphabet, byte_level_bytes, piece_rules


def test_the_alphabet_is_the_libraries_own() -> None:
    alphabet = byte_level_alphabet()
    assert set(alphabet) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(alphabet.values()) == list(range(256))
    encode = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str
    for character in map(chr, [*range(0x20, 0x7F), 0xA0, 0xAD, 0xE9, 0x2581, 0x1F600]):
        (token, _), = encode(character)  # fmt: skip
        assert byte_level_bytes(token) == character.encode()


def test_a_token_outside_the_alphabet_is_plain_text() -> None:
    assert byte_level_bytes("<tool call>") == b"<tool call>"
    assert byte_level_bytes("日") == "日".encode()


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        {},
        {"type": "WordPiece", "prefix": "##", "cleanup": True},
        {"type": "BPEDecoder", "suffix": "</w>"},
        {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
        {"type": "Sequence", "decoders": []},
        {"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Fuse"}]},
        # A pattern that is a regular expression, steps in another order, a strip at the end: left to the library.
        {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"Regex": "▁+"}, "content": " "}]},
        {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]},
        {
            "type": "Sequence",
            "decoders": [{"type": "Fuse"}, *[{"type": "Strip", "content": " ", "start": 1, "stop": 0}] * 2],
        },
        {"type": "Sequence", "decoders": [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 1}]},
        {
            "type": "Sequence",
            "decoders": [{"type": "ByteFallback"}, {"type": "Replace", "pattern": {"String": "x"}, "content": "y"}],
        },
    ],
)
def test_what_is_no_sum_of_bytes_has_no_rules(decoder: dict[str, Any] | None) -> None:
    assert piece_rules(decoder) is None


def test_sentencepiece_rules() -> None:
    steps = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    rules = piece_rules({"type": "Sequence", "decoders": steps})
    assert rules is not None
    assert rules.to_bytes("▁Hello▁") == b" Hello "
    assert rules.to_bytes("<0xE6>") == b"\xe6"
    assert rules.to_bytes("<0xe6>") == b"\xe6"
    assert rules.to_bytes("<0xE6>x") == b"<0xE6>x"
    assert rules.to_bytes("<0xE6>\n") == b"<0xE6>\n"
    assert rules.strip == (" ", 1)
    plain = piece_rules({"type": "Sequence", "decoders": [steps[0], steps[2]]})
    assert plain is not None
    assert plain.to_bytes("<0xE6>") == b"<0xE6>"


@pytest.mark.parametrize(
    ("step", "first"),
    [
        ({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}, b"ab"),
        ({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}, b"ab"),
        ({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"}, b" a b"),
        ({"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}, b"ab"),
        ({"type": "Metaspace", "replacement": "▁", "add_prefix_space": False}, b" a b"),
    ],
)
def test_metaspace_rules(step: dict[str, Any], first: bytes) -> None:
    rules = piece_rules(step)
    assert rules is not None
    assert rules.first_to_bytes("▁a▁b") == first
    assert rules.to_bytes("▁a▁b") == b" a b"


def test_the_table_fills_itself_once_and_only_with_the_vocabulary() -> None:
    asked: list[int] = []

    def token_of(token_id: int) -> str | None:
        asked.append(token_id)
        return {0: "a", 1: "<s>"}.get(token_id)

    table = PieceTable(token_of, str.encode, frozenset({1}))
    assert [table[0], table[0], table[1], table[2], table[-1], table[2**40]] == [b"a", b"a", b"", b"", b"", b""]
    assert asked == [0, 1, 2]
    assert dict(table) == {0: b"a", 1: b""}


@pytest.mark.parametrize("kind", sorted(TABLE_KINDS))
def test_the_bytes_of_tokens_add_up(tokenizers_by_kind: dict[str, TextTokenizer], kind: str) -> None:
    tokenizer = tokenizers_by_kind[kind]
    ids = tokenizer.encode("a Hello, world")
    text = b"".join(tokenizer.token_bytes(i) for i in ids).decode()
    assert text.lstrip() == tokenizer.decode(ids).lstrip()
