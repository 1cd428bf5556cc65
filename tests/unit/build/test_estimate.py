"""What a chat model's engine is said to take: the least GPU memory keeps just one answer, and a setting counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from build.catalog import CATALOG, CatalogError, load_catalog
from build.estimate import DoesNotFitError, check_gpus, estimate, report
from build.gpus import Gpu
from build.hf_checkpoint import CheckpointError, check_config

GPT_OSS = "openai/gpt-oss-20b"
ENGINES = [
    ("meta/llama-3.1-8b-instruct", "kv_cache_free_gpu_mem_fraction"),
    ("nvidia/llama-3.1-8b-instruct-fp8", "free_gpu_memory_fraction"),
]


@pytest.mark.parametrize("fraction", [1.0, 0.9, 0.85, 0.3, 0.07])
@pytest.mark.parametrize(("model", "setting"), ENGINES)
def test_the_least_memory_keeps_one_answer_and_a_byte_less_does_not(model: str, setting: str, fraction: float) -> None:
    entry = load_catalog().get(model)
    entry = replace(entry, settings={**entry.settings, setting: fraction})
    found = estimate(entry)
    enough = Gpu("a GPU", found.least, 0)
    check_gpus(entry, found, [enough])
    assert found.tokens_in(found.least) == entry.context_length
    assert ": 1 answers of the full length at once" in report(entry, found, [enough])[-1]
    assert found.tokens_in(found.least - 100) < entry.context_length
    with pytest.raises(DoesNotFitError):
        check_gpus(entry, found, [replace(enough, memory=found.least - 1)])


@pytest.mark.parametrize(("model", "setting"), ENGINES)
@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01])
def test_a_part_of_the_memory_that_is_none(model: str, setting: str, fraction: float) -> None:
    entry = load_catalog().get(model)
    with pytest.raises(CatalogError, match=f"settings.{setting}: {fraction} is no part of the memory"):
        estimate(replace(entry, settings={**entry.settings, setting: fraction}))


def test_gpt_oss_as_it_is_published(tmp_path: Path) -> None:
    entry = load_catalog().get(GPT_OSS)
    assert entry.checkpoint is not None and entry.quantization == "mxfp4"
    found = estimate(entry)
    # `metadata.total_size` of its index: the experts' blocks and scales, and all else in BF16.
    assert found.download == found.weights == 13_761_264_768 and not found.converted
    with pytest.raises(DoesNotFitError, match=r"mxfp4 needs compute capability 9\.0, NVIDIA L4 .* offered are mxfp4$"):
        check_gpus(entry, found, [Gpu("NVIDIA L4", 24 << 30, 0, (8, 9))])
    for other in (f"{GPT_OSS}:fp8", "meta/llama-3.1-8b-instruct:mxfp4"):
        with pytest.raises(CatalogError, match="is not offered"):
            load_catalog().get(other)

    # As far as they are looked at, the keys of its config.json.
    config = {
        "architectures": ["GptOssForCausalLM"],
        "num_hidden_layers": 24,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 201088,
        "tie_word_embeddings": False,
        "num_experts_per_tok": 4,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    check_config(tmp_path, entry.checkpoint)
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_experts_per_tok": 8}))
    with pytest.raises(CheckpointError, match="num_experts_per_tok is 8; the catalog says 4"):
        check_config(tmp_path, entry.checkpoint)


def test_experts_of_a_token_count() -> None:
    entry = load_catalog().get(GPT_OSS)
    assert entry.checkpoint is not None
    dense = replace(entry, checkpoint=replace(entry.checkpoint, num_experts_per_tok=1))
    more = estimate(entry).activations - estimate(dense).activations
    assert more == entry.build.max_num_tokens * 2 * 2 * 3 * 3 * entry.checkpoint.intermediate_size


@pytest.mark.parametrize("content", ['quantization = "mxfp4"', 'quantizations = ["bf16", "mxfp4"]'])
def test_what_is_only_published_is_never_made(tmp_path: Path, content: str) -> None:
    text = CATALOG.read_text().replace('  [models.build]\n  quantization = "bf16"', f"  [models.build]\n  {content}", 1)
    (tmp_path / "catalog.toml").write_text(text)
    with pytest.raises(CatalogError, match=r"known for a GPU are fp16, bf16, fp8, int8_sq, int4_awq, nvfp4$"):
        load_catalog(tmp_path / "catalog.toml")
