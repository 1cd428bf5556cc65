"""A Triton with one chat model of the engine `tensorrt_llm_api`, over the stand-in for TensorRT-LLM."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build.assemble import prepare
from build.catalog import load_catalog
from build.fetch import fetch
from build.parts import make_parts
from launcher.state import StateLock
from launcher.triton_server import TritonServer
from tests.support import models
from tests.support.stand_in_imports import STAND_IN
from tokentext.cache import cache_folder

MODEL = "acme/stand-in"
ENGINE = "stand-in_engine"
CONTEXT = 2048
VOCABULARY = 49152  # of SmolLM2, whose tokenizer it has
END_ID = 2


@dataclass(frozen=True)
class StandIn:
    """A running Triton, and what the stand-in LLM has written down."""

    server: TritonServer
    log: Path

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind so far; keys: `event`, `time` (Unix seconds), and its own."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]


def tokenizer_folder() -> Path:
    """The tokenizer of SmolLM2, with its chat template."""
    entry = load_catalog().get(models.CHAT)
    cache = cache_folder()
    return make_parts(entry, fetch(entry, cache), cache).tokenizer


def stand_in_repository(
    folder: Path,
    conduct: dict[str, Any] | None = None,
    *,
    release: str = "1.3.0",
    loras: Mapping[str, Path] | None = None,
    config: Mapping[str, Any] | None = None,
    modalities: Sequence[str] = (),
    **settings: object,
) -> tuple[Path, Path]:
    """A repository with the model `MODEL`, and the stand-in's log.

    Args:
        conduct: fields of the stand-in's `Conduct`.
        release: what TensorRT-LLM says it is.
        loras: folders of LoRA adapters, by name.
        config: more for the checkpoint's config.json.
        modalities: of the catalog's entry.
        settings: of the engine.
    """
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True)
    log = folder / "stand_in.log"
    (checkpoint / "config.json").write_text(json.dumps({"vocab_size": VOCABULARY, **(config or {})}))
    (checkpoint / "stand_in.json").write_text(json.dumps({"log": str(log), **(conduct or {})}))
    tokenizer = folder / "tokenizer"
    shutil.copytree(tokenizer_folder(), tokenizer)
    (tokenizer / "generation_config.json").write_text(json.dumps({"eos_token_id": END_ID}))
    values = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    named = (loras or {}).items()
    adapters = "".join(f'[[models.loras]]\nname = "{name}"\nfolder = "{path}"\n' for name, path in named)
    taken = f"modalities = {json.dumps(modalities)}\n" if modalities else ""
    catalog = folder / "catalog.toml"
    catalog.write_text(
        f'[[models]]\nid = "{MODEL}"\nkind = "chat"\nengine = "tensorrt_llm_api"\nfamily = "smollm2"\n'
        f'context_length = {CONTEXT}\nowned_by = "acme"\nlicense = "apache-2.0"\ncreated = 2026-01-01\n'
        f'engine_dir = "{checkpoint}"\ntokenizer_dir = "{tokenizer}"\n{taken}[models.settings]\n{values}{adapters}'
    )
    repository = prepare([MODEL], folder / "repository", cache_folder(), catalog=catalog)
    # Triton's Python backend puts the folder of model.py on the path.
    shutil.copytree(STAND_IN, repository / ENGINE / "1", dirs_exist_ok=True)
    (repository / ENGINE / "1" / "tensorrt_llm" / "release.py").write_text(f'RELEASE = "{release}"\n')
    return repository, log


def write_lora(folder: Path) -> Path:
    """A folder with the files of a Hugging Face adapter; what is in them nobody here reads."""
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_text("{}")
    return folder


@contextmanager
def stand_in_triton(folder: Path, conduct: dict[str, Any] | None = None, **options: Any) -> Iterator[StandIn]:
    """Runs Triton with it; arguments as of `stand_in_repository`."""
    repository, log = stand_in_repository(folder, conduct, **options)
    state = folder / "state"
    with StateLock(state), TritonServer([repository], state) as server:
        yield StandIn(server, log)
