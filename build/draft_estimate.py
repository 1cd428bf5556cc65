"""What a model and its draft model take together, where they share GPUs."""

from __future__ import annotations

from dataclasses import replace

from build.catalog import ModelEntry
from build.estimate import RUNTIME, Estimate, estimate


def to_fit(entry: ModelEntry, draft: ModelEntry | None) -> list[tuple[ModelEntry, Estimate]]:
    """What must fit on the GPUs: the draft model if there is one, and the entry, with that where they share GPUs.

    Raises:
        CatalogError: a setting for a cache's part of the memory is none.
    """
    own = estimate(entry)
    if draft is None:
        return [(entry, own)]
    drafts = estimate(draft)
    if entry.engine == "tensorrt_llm":
        if draft.settings["gpu_device_ids"] != entry.settings["gpu_device_ids"]:
            return [(draft, drafts), (entry, own)]
        return [(draft, drafts), (entry, _two_engines(own, drafts))]
    fraction = own.cache_fraction  # of one LLM, whose cache has room for the tokens of both models
    return [(draft, drafts), (entry, _sum(own, drafts, fraction, runtime=0))]


def _two_engines(own: Estimate, drafts: Estimate) -> Estimate:
    """Each takes its fraction of what it finds; whichever comes second finds what the first has left."""
    mine, theirs = own.cache_fraction, drafts.cache_fraction
    kv_per_token = own.kv_per_token + drafts.kv_per_token
    fraction = kv_per_token * min(
        mine * (1 - theirs) / own.kv_per_token,
        theirs * (1 - mine) / drafts.kv_per_token,
    )
    return _sum(own, drafts, fraction, RUNTIME)


def _sum(own: Estimate, drafts: Estimate, fraction: float, runtime: int) -> Estimate:
    return replace(
        own,
        download=own.download + drafts.download,
        converted=own.converted + drafts.converted,
        engine=own.engine + drafts.engine,
        weights=own.weights + drafts.weights,
        activations=own.activations + drafts.activations + runtime,
        kv_per_token=own.kv_per_token + drafts.kv_per_token,
        cache_fraction=fraction,
    )
