"""Fixtures of the discovery of models."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.triton import registry as registry_module
from tests.unit.adapter.served import tokenizer_folder
from tests.unit.adapter.triton.discovered import local
from tests.unit.adapter.triton.kserve import KServe


@pytest.fixture
def always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer counts as current: every question is asked of the server."""
    monkeypatch.setattr(registry_module, "_FRESH", -1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_folder(tmp_path_factory.mktemp("served") / "small")


@pytest.fixture
def triton(folder: Path) -> KServe:
    """With one chat model, whose tokenizer is on this machine."""
    service = KServe()
    service.add(local(folder))
    return service
