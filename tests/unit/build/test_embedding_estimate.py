"""What an embedding model is said to take before anything starts, and what is refused for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from build import estimate as estimate_module
from build.catalog import load_catalog
from build.embedding_estimate import GROUP_TOKENS, check_embedding_disk, estimate_embedding
from build.estimate import RUNTIME, DoesNotFitError
from tests.support import models
from tests.unit.build.conftest import RealModel
from tests.unit.build.pretend_build import ROOT
from tests.unit.build.pretend_embedding_build import EmbeddingBench, embedding_bench
from tokentext.cache import cache_folder


@pytest.fixture
def bench(tmp_path: Path) -> EmbeddingBench:
    return embedding_bench(tmp_path)


def test_sizes_of_a_real_model(embedding_model: RealModel, tmp_path: Path) -> None:
    entry = load_catalog().get(models.EMBEDDING)
    entry = replace(entry, engine="tensorrt", settings={"max_batch_size": 64})
    graph = sum(path.stat().st_size for path in embedding_model.parts.weights.values())
    known, assumed = (estimate_embedding(entry, cache, "fp16") for cache in (cache_folder(), tmp_path))
    assert known.known and known.download == 0
    assert known.graph == pytest.approx(graph, rel=0.01) and known.plan == known.weights == known.graph // 2
    # 12 heads with scores of 64 texts of 256 tokens, in 16 bits: the very least that attention holds.
    assert 64 * 12 * 256 * 256 * 2 < known.activations < 16 * 64 * 12 * 256 * 256 * 2
    assert known.needed == known.weights + known.activations + RUNTIME
    assert not assumed.known and assumed.download == sum(file.size for file in entry.files)
    assert assumed.weights >= known.weights and assumed.activations >= known.activations, "a cautious assumption"


def test_activations_grow_with_the_largest_batch(embedding_model: RealModel) -> None:
    entry = load_catalog().get(models.EMBEDDING)
    plans = [replace(entry, engine="tensorrt", settings={"max_batch_size": batch}) for batch in (8, 64)]
    small, large = (estimate_embedding(plan, cache_folder(), "fp32") for plan in plans)
    assert large.activations == 8 * small.activations and large.texts == 64
    cuda = [replace(entry, settings={"provider": "cuda", "max_batch_size": batch}) for batch in (8, 64)]
    assert len({estimate_embedding(one, cache_folder(), "fp32") for one in cuda}) == 1, "its model cuts batches itself"


@pytest.mark.parametrize("provider", [(), ("--provider", "cuda")])
def test_a_gpu_that_is_too_small_is_refused_before_anything_starts(
    bench: EmbeddingBench, provider: tuple[str, ...]
) -> None:
    for more in ((), ("--dry-run",)):
        answer = bench.run(*provider, "--gpu-memory", "0.5", *more)
        assert answer.returncode == 1 and "GiB are needed, a GPU has 0.5" in answer.stderr, answer.stderr
        assert "GPU memory: weights" in answer.stdout + answer.stderr
    assert not (bench.folder / "cache").exists() and not bench.calls() and not bench.repository.exists()


def test_a_batch_that_does_not_fit(bench: EmbeddingBench) -> None:
    answer = bench.run("--gpu-memory", "2", "--max-batch-size", "9999")
    assert answer.returncode == 1 and "a smaller --max-batch-size" in answer.stderr, answer.stderr
    assert bench.calls() == {} and (bench.folder / "cache").is_dir(), "its config.json had to come first"
    bench.built("--gpu-memory", "2", "--max-batch-size", "8")


def test_a_gpu_that_is_too_old_or_not_there(bench: EmbeddingBench) -> None:
    bench.environment["PRETEND_GPUS"] = "Tesla T4, 15360, 15000, 7.5"
    answer = bench.run()
    assert answer.returncode == 1 and "bf16 needs compute capability 8.0, Tesla T4 has 7.5" in answer.stderr
    assert "--precision fp32" in answer.stderr
    bench.built("--precision", "fp32")
    bench.environment["PRETEND_GPUS"] = ""
    answer = bench.run()
    assert answer.returncode == 1 and "--gpu-memory GIB says what the serving GPU has" in answer.stderr
    assert "whether a GPU holds it is not known" in bench.built("--dry-run").stdout


def test_a_disk_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = replace(load_catalog().get(models.EMBEDDING), engine="tensorrt", settings={"max_batch_size": 64})
    found = estimate_embedding(entry, tmp_path / "cache", "fp32")
    assert found.plan and found.graph and found.download
    usage = type("Usage", (), {"free": found.plan + found.graph + estimate_module.SPARE})
    monkeypatch.setattr(estimate_module.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DoesNotFitError, match=r"GB are needed in .* free: make room, or .*--work"):
        check_embedding_disk(found, tmp_path / "cache", tmp_path / "work", {})
    check_embedding_disk(found, tmp_path / "cache", tmp_path / "work", {"plan": None})
    check_embedding_disk(replace(found, download=0), tmp_path / "cache", tmp_path / "work", {})


def test_weights_of_16_bits_become_twice_as_large(bench: EmbeddingBench) -> None:
    entry = load_catalog(bench.catalog).get("me/sentence-t5")
    bench.built()
    cache = bench.folder / "cache"
    wide = estimate_embedding(entry, cache, "fp32")
    config = next((cache / "files").rglob("config.json"))
    stored = json.loads(config.read_text())
    for key in ("torch_dtype", "dtype"):
        content = json.dumps({**stored, key: "float16"})
        config.write_text(content)
        changed = tuple(
            replace(file, size=len(content)) if file.name == "config.json" else file for file in entry.files
        )
        assert estimate_embedding(replace(entry, files=changed), cache, "fp32").graph == 2 * wide.graph


def test_what_the_served_model_computes_at_once_is_what_is_counted() -> None:
    code = (ROOT / "model_repository" / "encoder" / "1" / "model.py").read_text()
    assert f"\nGROUP_TOKENS = {GROUP_TOKENS}  #" in code
