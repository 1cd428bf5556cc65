"""A small byte-level tokenizer with a chat template, and a model that has it."""

from __future__ import annotations

import pytest

from adapter.triton.model import ServedModel
from tests.unit.adapter.served import served_model, tokenizer_folder
from tokentext import TextTokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return TextTokenizer(tokenizer_folder(tmp_path_factory.mktemp("tokenizer") / "small"))


@pytest.fixture(scope="session")
def model(tokenizer: TextTokenizer) -> ServedModel:
    return served_model(tokenizer)
