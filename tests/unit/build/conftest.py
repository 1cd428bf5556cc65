"""The real small models, fetched and made ready if they are not in the cache; a hub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from build.catalog import load_catalog
from build.fetch import fetch
from build.parts import Parts, make_parts
from tests.support import models
from tests.unit.build.file_server import FileServer, file_server
from tests.unit.build.model_files import CONTENT, HUB_PATH
from tokentext.cache import cache_folder


@dataclass(frozen=True)
class RealModel:
    """A model of the catalog: its weights' file, and what is made of it."""

    weights: Path
    parts: Parts


def _model(model_id: str) -> RealModel:
    entry = load_catalog().get(model_id)
    files = fetch(entry, cache_folder())
    return RealModel(files[entry.weights.name], make_parts(entry, files, cache_folder()))


@pytest.fixture(scope="session")
def small_model() -> RealModel:
    """SmolLM2-135M: `tokenizer.ggml.pre` smollm."""
    return _model(models.CHAT)


@pytest.fixture(scope="session")
def default_model() -> RealModel:
    """Qwen2.5-Coder-0.5B: `tokenizer.ggml.pre` qwen2, a template with tools."""
    return _model(models.GOOD_CHAT)


@pytest.fixture(scope="session")
def embedding_model() -> RealModel:
    """all-MiniLM-L6-v2."""
    return _model(models.EMBEDDING)


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A hub that has CONTENT."""
    with file_server() as state:
        state.files[HUB_PATH] = CONTENT
        yield state


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that is not there yet."""
    return tmp_path / "cache"
