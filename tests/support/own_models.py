"""Repositories of a test's own: one model of the catalog, under another id or with other engine settings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from tokenizers import Tokenizer

from build.assemble import prepare
from build.catalog import CATALOG
from tests.support import models
from tests.support.tiny_media_model import write_projector
from tokentext.cache import cache_folder

MEDIA = "test/media-135m"
MEDIA_CONTEXT = 2048
_TEXT_WIDTH = 576  # of SmolLM2-135M's embeddings


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


def media_repository(folder: Path, settings: Mapping[str, int] | None = None) -> Path:
    """A repository in `folder` with one model, `MEDIA`, that takes text, images and audio.

    It is SmolLM2 with a projector of random weights: what it makes of a medium differs from one to another, and means
    nothing. An image takes 30 tokens, each 30 seconds of audio that are begun 150.

    Args:
        settings: of the engine, such as `{"slots": 2}`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    projector = write_projector(folder / "mmproj.gguf", _TEXT_WIDTH)
    entries = CATALOG.read_text(encoding="utf-8").split("[[models]]")[1:]
    (entry,) = [entry for entry in entries if f'\nid = "{models.CHAT}"' in entry]
    entry = entry.replace(f'\nid = "{models.CHAT}"', f'\nid = "{MEDIA}"\nmodalities = ["text", "image", "audio"]', 1)
    entry = re.sub(r"\ncontext_length = \d+", f"\ncontext_length = {MEDIA_CONTEXT}", entry, count=1)
    content = projector.read_bytes()
    file = (
        f'[[models.files]]\nname = "{projector.name}"\nrole = "mmproj"\nsize = {len(content)}\n'
        f'sha256 = "{hashlib.sha256(content).hexdigest()}"\nsources = [ {{ path = "{projector.name}" }} ]\n'
    )
    values = "".join(f"{name} = {value}\n" for name, value in (settings or {}).items())
    catalog = folder / "catalog.toml"
    catalog.write_text(f"[[models]]{entry}\n{file}\n[models.settings]\n{values}", encoding="utf-8")
    return prepare([MEDIA], folder / "repository", cache_folder(), catalog=catalog)


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
