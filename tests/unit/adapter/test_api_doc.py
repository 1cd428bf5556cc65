"""docs/api.md names everything a client can send and every code it can get."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import adapter
from adapter.schema.chat import ChatCompletionRequest
from adapter.schema.completions import CompletionRequest
from adapter.schema.embeddings import EmbeddingsRequest
from adapter.schema.unsupported import CHAT_COMPLETIONS
from adapter.settings import Settings

ROOT = Path(__file__).parents[3]
DOC = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
CHAT, EMBEDDINGS = DOC.split("## Embeddings")
CHAT, COMPLETIONS = CHAT.split("## Completions")
HONOURED, REFUSED = CHAT.split("Refused, 400")


def cell(text: str, name: str) -> bool:
    """Whether a table has the name in its first column."""
    return re.search(rf"^\|[^|]*`{re.escape(name)}`[^|]*\|", text, re.MULTILINE) is not None


@pytest.mark.parametrize("name", sorted(ChatCompletionRequest.model_fields))
def test_honoured_chat_fields(name: str) -> None:
    assert cell(HONOURED, name)


@pytest.mark.parametrize("name", sorted(CHAT_COMPLETIONS))
def test_refused_chat_fields(name: str) -> None:
    assert cell(REFUSED, name)
    assert not cell(HONOURED, name)


@pytest.mark.parametrize("name", sorted(CompletionRequest.model_fields))
def test_completion_fields(name: str) -> None:
    assert cell(COMPLETIONS, name)


@pytest.mark.parametrize("name", sorted(EmbeddingsRequest.model_fields))
def test_embedding_fields(name: str) -> None:
    assert cell(EMBEDDINGS.split("## Errors")[0], name)


def test_error_codes() -> None:
    errors = DOC.split("## Errors")[1]
    sources = [path.read_text(encoding="utf-8") for path in Path(adapter.__file__).parent.rglob("*.py")]
    codes = {code for source in sources for code in re.findall(r'code="([a-z_]+)"', source)}
    assert len(codes) > 8
    assert {code for code in codes if f"`{code}`" not in errors} == set()


def test_the_settings_that_it_names() -> None:
    for name in re.findall(r"TRITONGATE_([A-Z_]+)", DOC):
        assert name.lower() in Settings.model_fields
    assert f"{Settings.model_fields['max_body_bytes'].default >> 20} MiB" in DOC
    assert f"| {Settings.model_fields['max_concurrent_requests'].default}, `TRITONGATE_MAX_CONCURRENT" in DOC


def test_links() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", DOC):
        assert (ROOT / "docs" / target).exists(), target
