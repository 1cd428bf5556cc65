"""Decoding an answer in parts gives the text of the whole, however it is cut."""

from __future__ import annotations

import random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.support.model_modules import model_module
from tokentext.tokenizer import TextTokenizer

texts = model_module("postprocessing", "texts")
TEXT = "a🦄b 日本語 ẞ é\n👩‍👩‍👧 end"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """Byte-level, one token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({character: index for index, character in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<end>"])
    folder = tmp_path_factory.mktemp("tokenizer")
    made.save(str(folder / "tokenizer.json"))
    return TextTokenizer(folder)


def cut(ids: list[int], seed: int) -> list[list[int]]:
    chance = random.Random(seed)
    parts, position = [], 0
    while position < len(ids):
        length = chance.randint(1, 4)
        parts.append(ids[position : position + length])
        position += length
    return parts


@pytest.mark.parametrize("seed", range(20))
def test_parts_with_context(tokenizer: TextTokenizer, seed: int) -> None:
    maker = texts.TextMaker(tokenizer, True)
    prompt = tokenizer.encode("🦄 before")
    ids = [*tokenizer.encode(TEXT), *tokenizer.encode("<end>")]
    so_far, shown = list(prompt), []
    parts = cut(ids, seed)
    for index, part in enumerate(parts):
        shown.append(maker.after(so_far[-8:], part, index == len(parts) - 1))
        so_far += part
    assert "".join(shown) == TEXT
    assert "\ufffd" not in "".join(shown)


def test_an_unfinished_character_is_shown_at_the_end(tokenizer: TextTokenizer) -> None:
    maker = texts.TextMaker(tokenizer, True)
    unicorn = tokenizer.encode("🦄")
    context = tokenizer.encode("before")
    assert maker.after(context, unicorn[:2], last=False) == ""
    assert maker.after([*context, *unicorn[:2]], [], last=True) == "\ufffd"
    assert maker.after([*context, *unicorn[:2]], unicorn[2:], last=True) == "🦄"


def test_requests_with_ids_are_kept_apart_and_bounded(tokenizer: TextTokenizer) -> None:
    maker = texts.TextMaker(tokenizer, True)
    unicorn, euro = tokenizer.encode("🦄"), tokenizer.encode("€")
    shown = [
        maker.next("a", unicorn[:3]),
        maker.next("b", euro[:1]),
        maker.next("a", unicorn[3:]),
        maker.next("b", euro[1:]),
    ]
    assert shown == ["", "", "🦄", "€"]
    maker.next("a", unicorn[:3])
    for number in range(texts.MAX_OPEN):
        maker.next(f"other {number}", euro)
    assert maker.next("a", unicorn[3:]) == "\ufffd"  # its decoder had to make room


def test_an_id_used_again_later_does_not_take_over_what_was_left(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = texts.TextMaker(tokenizer, True)
    now = 1000.0
    monkeypatch.setattr(texts.time, "monotonic", lambda: now)
    assert maker.next("1", tokenizer.encode("🦄")[:2]) == ""  # its client left
    now += texts.FORGOTTEN_AFTER + 1
    assert maker.next("1", tokenizer.encode("Hello")) == "Hello"
