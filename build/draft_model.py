"""The draft model of an entry: a smaller model with the same vocabulary, built beside it and for it alone.

It writes a few tokens, which the entry's own model then checks in one step (speculative decoding). What it may be
asked for follows from that model: it is built with the same limits, by the same way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from build.catalog import Catalog, CatalogError, ModelEntry
from build.engine_settings import GPU_ENGINES, Setting
from build.hf_checkpoint import CheckpointError, read_object
from build.stages import Stage

STAGE = "draft"  # of the model's own build; holds what it was checked against
RECORD = "draft.json"


def draft_entry(entry: ModelEntry, catalog: Catalog) -> ModelEntry:
    """The draft model of an entry that has one (`build.draft`), as it is built.

    Args:
        entry: as it is built itself, `ModelEntry.for_gpu`.
    Raises:
        CatalogError: there is no such entry, or it cannot be a draft model.
    """
    wanted = entry.build.draft
    try:
        found = catalog.get(wanted)
        if found.engine_dir is not None or found.engine not in GPU_ENGINES:
            found = found.for_gpu(wanted.removeprefix(found.id).removeprefix(":"))
        if entry.checkpoint == found.checkpoint:
            raise CatalogError(f"{wanted} is the model itself, or made of the same checkpoint")
        return _built_for(entry, found)
    except CatalogError as error:
        raise CatalogError(f"{entry.id}: build.draft: {error}") from None


def _built_for(entry: ModelEntry, found: ModelEntry) -> ModelEntry:
    """The draft model with the limits of the entry."""
    build = replace(
        found.build,
        engine=entry.build.engine,
        max_batch_size=entry.build.max_batch_size,
        max_num_tokens=entry.build.max_num_tokens,
        chunked_context=entry.build.chunked_context,
        paged_kv_cache=True,
        gather_generation_logits=False,
        lora_modules=(),
        draft="",
        max_draft_len=0,
        # One LLM, or the processes of one MPI world, run both.
        tensor_parallel=entry.build.tensor_parallel,
        pipeline_parallel=entry.build.pipeline_parallel,
        workers=entry.build.workers,
    )
    settings: dict[str, Setting] = {}  # of one LLM: those of the entry hold for both
    if entry.engine == "tensorrt_llm":
        settings = {
            "kv_cache_free_gpu_mem_fraction": entry.settings["draft_kv_cache_free_gpu_mem_fraction"],
            "gpu_device_ids": entry.settings["draft_gpu_device_ids"] or entry.settings["gpu_device_ids"],
        }
    return found.replaced(
        id=f"{entry.id}_draft",
        name=f"{entry.name}_draft",
        engine=entry.engine,
        settings=settings,
        context_length=entry.context_length,
        modalities=("text",),
        loras=(),
        build=build,
    )


def draft_stage(entry: ModelEntry, checkpoint: Path, draft: Path) -> Stage:
    """The stage of the entry's own build that holds its vocabulary against the draft model's.

    Args:
        checkpoint: of the entry. draft: the draft model's build, finished; before, the stage can be shown, not run.
    """
    tokenizer = draft / "tokenizer" / "tokenizer.json"
    theirs = vocabulary_digest(tokenizer) if tokenizer.is_file() else ""

    def fill(folder: Path) -> None:
        ours = vocabulary_digest(checkpoint / "tokenizer.json")
        record = {"draft": entry.build.draft, "vocabulary": ours}
        (folder / RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")

    return Stage(
        STAGE,
        {"checkpoint": ("tokenizer.json",)},
        {"draft": entry.build.draft, "vocabulary of the draft": theirs},
        fill=fill,
        verify=_check_vocabulary(entry, theirs),
    )


def _check_vocabulary(entry: ModelEntry, theirs: str) -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        if read_object(folder / RECORD)["vocabulary"] != theirs:
            raise CheckpointError(
                f"{entry.id}: build.draft: {entry.build.draft} has another vocabulary (tokenizer.json): its "
                "tokens would mean other texts. A draft model is a smaller one of the same family"
            )

    return check


def vocabulary_digest(tokenizer: Path) -> str:
    """SHA-256 of which token has which id, in a `tokenizer.json`. Raises CheckpointError."""
    content = read_object(tokenizer)
    try:
        vocabulary = content["model"]["vocab"]
        # BPE and WordPiece: token -> id; Unigram: a list of [token, score], whose places are the ids.
        tokens = (
            {int(token_id): token for token, token_id in vocabulary.items()}
            if isinstance(vocabulary, dict)
            else {place: token for place, (token, _) in enumerate(vocabulary)}
        )
        tokens.update((int(added["id"]), added["content"]) for added in content.get("added_tokens") or ())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{tokenizer}: no vocabulary is found in it ({error!r})") from error
    return hashlib.sha256(json.dumps(sorted(tokens.items()), ensure_ascii=False).encode()).hexdigest()
