"""Which models can fill in the middle, read from their tokenizers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from build.fim import fim_tokens
from tests.unit.build.conftest import RealModel


def test_the_default_model_fills_in(default_model: RealModel) -> None:
    assert fim_tokens(default_model.parts.tokenizer) == ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


def test_a_chat_model_does_not(small_model: RealModel) -> None:
    assert fim_tokens(small_model.parts.tokenizer) is None


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("missing", [None, 0, 1, 2])
def test_all_three_are_needed(tmp_path: Path, escaped: bool, missing: int | None) -> None:
    triple = ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>")
    vocabulary = {token: number for number, token in enumerate(triple) if number != missing}
    text = json.dumps({"model": {"vocab": vocabulary}}, ensure_ascii=escaped)
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    assert fim_tokens(tmp_path) == (triple if missing is None else None)
