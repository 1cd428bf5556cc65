"""Repositories of a test's own: one model of the catalog, under another id or with other engine settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tokenizers import Tokenizer

from build.assemble import prepare
from build.catalog import CATALOG
from build.fetch import cache_folder
from tests.support import models


def repository_of(
    folder: Path, source: str = models.CHAT, *, model_id: str | None = None, settings: Mapping[str, int] | None = None
) -> Path:
    """A repository in `folder` with one model.

    Args:
        source: id of the catalog entry.
        model_id: the id to serve it by; by default the entry's own.
        settings: the entry's `[models.settings]`, such as `{"slots": 2}`.
    """
    entries = CATALOG.read_text(encoding="utf-8").split("[[models]]")[1:]
    (entry,) = [entry for entry in entries if f'\nid = "{source}"' in entry]
    model_id = model_id or source
    entry = re.sub(r'\nid = "[^"]*"', f'\nid = "{model_id}"', entry, count=1)
    values = "".join(f"{name} = {value}\n" for name, value in (settings or {}).items())
    folder.mkdir(parents=True, exist_ok=True)
    catalog = folder / "catalog.toml"
    catalog.write_text(f"[[models]]{entry}\n[models.settings]\n{values}", encoding="utf-8")
    return prepare([model_id], folder / "repository", cache_folder(), catalog=catalog)


def triton_name(model_id: str) -> str:
    """The catalog's Triton name for an id (docs/model_repository.md)."""
    return model_id.rpartition("/")[2].replace(":", "-")


def tokenizer_of(repository: Path, model_id: str) -> Tokenizer:
    """The tokenizer of a model as the `tokenizers` library itself reads it."""
    (file,) = repository.glob(f"{triton_name(model_id)}_*/tokenizer/tokenizer.json")
    return Tokenizer.from_file(str(file))


def smollm2_prompt(*messages: tuple[str, str]) -> str:
    """(role, content) pairs in the form that SmolLM2 was trained on, written out by hand."""
    if messages[0][0] != "system":
        messages = (("system", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"), *messages)
    turns = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages)
    return f"{turns}<|im_start|>assistant\n"
