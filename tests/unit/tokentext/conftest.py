"""Tokenizers of every kind, built once a session."""

from __future__ import annotations

import pytest

from tests.unit.tokentext.tokenizer_kinds import KINDS, write_folder
from tokentext import TextTokenizer


@pytest.fixture(scope="session")
def tokenizers_by_kind(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextTokenizer]:
    root = tmp_path_factory.mktemp("tokenizers")
    return {kind: TextTokenizer(write_folder(root / kind, build())) for kind, build in KINDS.items()}


@pytest.fixture
def byte_level(tokenizers_by_kind: dict[str, TextTokenizer]) -> TextTokenizer:
    return tokenizers_by_kind["byte_level"]
