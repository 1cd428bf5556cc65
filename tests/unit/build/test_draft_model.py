"""A model and its draft model from one entry: both are built, held against each other, and assembled together."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from build.catalog import CatalogError, load_catalog
from build.draft_estimate import to_fit
from build.draft_model import draft_entry, vocabulary_digest
from build.estimate import estimate
from build.hf_checkpoint import CheckpointError
from build.llm_plan import finished_draft, finished_entry
from tests.unit.build.drafted_build import DRAFT, drafted_bench
from tests.unit.build.pretend_build import ID, Bench, write_checkpoint

SETTINGS = "[models.settings]\n"


def config_of(folder: Path) -> Any:
    config = model_config_pb2.ModelConfig()
    text_format.Parse((folder / "config.pbtxt").read_text(), config)
    return config


def parameters_of(folder: Path) -> dict[str, str]:
    return {key: value.string_value for key, value in config_of(folder).parameters.items()}


def compiler_of(bench: Bench, name: str) -> str:
    return shlex.join(bench.manifest(name)["stages"]["engine"]["commands"][0])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, str]:
    """A bench after its first build, and what that said."""
    bench = drafted_bench(tmp_path_factory.mktemp("drafted"))
    return bench, bench.built().stderr


def test_two_engines_of_one_entry(built: tuple[Bench, str]) -> None:
    bench, said = built
    assert bench.calls() == Counter({"convert": 2, "trtllm-build": 2, "tokenizer_info": 2})
    assert "me/tiny, with its draft model if on the same GPUs:" in said
    target, draft = compiler_of(bench, "tiny"), compiler_of(bench, "tiny_draft")
    # The compiler adds the places of a draft, which the executor sets aside for every request.
    assert "--max_batch_size 64 --max_input_len 256 --max_seq_len 256 --max_num_tokens 512" in target
    config = json.loads((bench.folder / "work" / "tiny" / "engine" / "config.json").read_text())
    assert config["build_config"]["max_seq_len"] == 261
    assert "--speculative_decoding_mode draft_tokens_external --max_draft_len 5" in target
    assert "--max_batch_size 64 --max_input_len 256 --max_seq_len 256 --max_num_tokens 512" in draft
    assert "speculative" not in draft and "gather_generation_logits" not in draft
    assert list(bench.manifest("tiny")["stages"])[:2] == ["checkpoint", "draft"]

    names = {path.name for path in bench.repository.iterdir() if path.is_dir()}
    parts = ("engine", "target", "draft", "preprocessing", "postprocessing")
    assert names == {"tiny", *(f"tiny_{part}" for part in parts)}
    engine = parameters_of(bench.repository / "tiny_engine")
    assert (engine["served_model_id"], engine["context_length"]) == (ID, "256")
    assert (engine["target_model"], engine["draft_model"], engine["max_draft_len"]) == (
        "tiny_target",
        "tiny_draft",
        "5",
    )
    assert engine["engine"] == "tensorrt_llm 1.2.1"
    for name, fraction, template in (("target", "0.6", ID), ("draft", "0.2", "")):
        folder = bench.repository / f"tiny_{name}"
        assert config_of(folder).backend == "tensorrtllm"
        parameters = parameters_of(folder)
        assert parameters["gpt_model_path"] == str(folder / "engine")
        assert (folder / "engine" / "rank0.engine").is_file()
        assert parameters["kv_cache_free_gpu_mem_fraction"] == fraction
        assert not config_of(folder).dynamic_batching.default_queue_policy.max_queue_size, "the queue is in front"
        assert "served_model_id" not in parameters, "callers are shown one model"
        assert ("xgrammar_tokenizer_info_path" in parameters) == bool(template)
    ensemble = config_of(bench.repository / "tiny")
    assert ensemble.ensemble_scheduling.step[1].model_name == "tiny_engine"

    answer = bench.built()
    assert bench.calls() == Counter() and "begins" not in answer.stderr


def test_the_model_in_front_declares_what_the_engine_does(built: tuple[Bench, str]) -> None:
    bench, _ = built
    ours, theirs = config_of(bench.repository / "tiny_engine"), config_of(bench.repository / "tiny_target")
    for kind in ("input", "output"):
        declared = [
            [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in getattr(config, kind)]
            for config in (ours, theirs)
        ]
        assert declared[0] == declared[1]
    assert [tensor.optional for tensor in ours.input] == [tensor.optional for tensor in theirs.input]


def test_the_llm_api_is_given_both_checkpoints(tmp_path: Path) -> None:
    bench = drafted_bench(tmp_path, 'engine = "tensorrt_llm_api"\nmax_draft_len = 3')
    bench.built()
    assert bench.calls() == Counter()
    assert list(bench.manifest("tiny_draft")["stages"]) == ["checkpoint", "tokenizer"]
    folder = bench.repository / "tiny_engine"
    parameters = parameters_of(folder)
    assert (parameters["speculative_model_dir"], parameters["max_draft_len"]) == (str(folder / "draft"), "3")
    own, theirs = (folder / place / "model.safetensors" for place in ("engine", "draft"))
    assert theirs.read_bytes() == (tmp_path / "mini" / "model.safetensors").read_bytes() != own.read_bytes()
    names = {path.name for path in bench.repository.iterdir() if path.is_dir()}
    assert not {"tiny_target", "tiny_draft"} & names


def test_a_draft_model_may_come_later_and_go_again(tmp_path: Path) -> None:
    bench = drafted_bench(tmp_path)
    text = bench.catalog.read_text()
    bench.catalog.write_text(text.replace(f'draft = "{DRAFT}"\n', ""))
    bench.built()
    assert bench.calls()["trtllm-build"] == 1
    bench.catalog.write_text(text)
    with pytest.raises(CatalogError, match=r"build\.draft: is me/mini, the build in .* is one for none"):
        finished_entry(load_catalog(bench.catalog).get(ID), tmp_path / "work")
    bench.built()
    assert bench.calls() == Counter({"convert": 1, "trtllm-build": 2, "tokenizer_info": 1})
    bench.catalog.write_text(text.replace(f'draft = "{DRAFT}"\n', ""))
    bench.built()
    assert bench.calls() == Counter({"trtllm-build": 1})
    assert config_of(bench.repository / "tiny_engine").backend == "tensorrtllm"


def test_the_fingerprint_tells_of_both(tmp_path: Path) -> None:
    bench = drafted_bench(tmp_path, 'engine = "tensorrt_llm_api"')
    bench.built()
    before = parameters_of(bench.repository / "tiny_engine")["weights_sha256"]
    os.replace(write_checkpoint(tmp_path / "other", seed=2) / "model.safetensors", tmp_path / "mini/model.safetensors")
    bench.built()
    assert parameters_of(bench.repository / "tiny_engine")["weights_sha256"] != before


def test_another_vocabulary_is_refused_before_anything_is_compiled_for_it(tmp_path: Path) -> None:
    bench = drafted_bench(tmp_path)
    path = tmp_path / "mini" / "tokenizer.json"
    path.write_text(path.read_text().replace('"t7"', '"another"'))
    answer = bench.run()
    assert answer.returncode == 1 and "build.draft: me/mini has another vocabulary (tokenizer.json)" in answer.stderr
    assert not (tmp_path / "work" / "tiny" / "weights").exists()
    assert not bench.repository.exists()


@pytest.mark.parametrize(
    ("build", "settings", "message"),
    [
        ("max_draft_len = 65", "", "max_draft_len: Input should be less than or equal to 64"),
        ("paged_kv_cache = false\nchunked_context = false", "", "draft: needs paged_kv_cache"),
        (
            "",
            f"{SETTINGS}kv_cache_free_gpu_mem_fraction = 0.9",
            "kv_cache_free_gpu_mem_fraction: 0.9 leaves too little of the GPUs to the draft model",
        ),
        ("", f'{SETTINGS}kv_cache_free_gpu_mem_fraction = 0.9\ngpu_device_ids = "1"', "0.9 leaves too little"),
        ("tensor_parallel = 2", f'{SETTINGS}draft_gpu_device_ids = "1"', "draft_gpu_device_ids: only where one GPU"),
        ("", f"{SETTINGS}enable_kv_cache_reuse = false", "settings.enable_kv_cache_reuse: a draft is checked"),
    ],
)
def test_what_makes_no_sense(tmp_path: Path, build: str, settings: str, message: str) -> None:
    with pytest.raises(CatalogError, match=re.escape(message)):
        load_catalog(drafted_bench(tmp_path, build, settings).catalog)


@pytest.mark.parametrize(
    ("draft", "message"),
    [
        ("me/nobody", "me/tiny: build.draft: no model 'me/nobody'"),
        ("me/mini:q4_k_m", "me/tiny: build.draft: me/mini: quantization: q4_k_m is not offered"),
        ("me/tiny:fp8", "me/tiny: build.draft: me/tiny:fp8 is the model itself"),
    ],
)
def test_no_such_draft_model(tmp_path: Path, draft: str, message: str) -> None:
    bench = drafted_bench(tmp_path)
    bench.catalog.write_text(bench.catalog.read_text().replace(f'draft = "{DRAFT}"', f'draft = "{draft}"'))
    known = load_catalog(bench.catalog)
    with pytest.raises(CatalogError, match=re.escape(message)):
        draft_entry(known.get(ID), known)


def test_the_quantization_of_a_draft_model_is_not_passed_over(tmp_path: Path) -> None:
    bench = drafted_bench(tmp_path)
    shipped = (Path(__file__).parents[3] / "build" / "catalog.toml").read_text()
    draft = "qwen/qwen2.5-coder-0.5b-instruct"  # llama.cpp's in its own entry
    own = bench.catalog.read_text()
    for quantization, found in ((":fp8", "fp8"), ("", "bf16")):
        bench.catalog.write_text(own.replace(f'"{DRAFT}"\n\n', f'"{draft}{quantization}"\n\n') + shipped)
        known = load_catalog(bench.catalog)
        assert draft_entry(known.get(ID), known).quantization == found
    bench.catalog.write_text(own.replace(f'"{DRAFT}"\n\n', f'"{draft}:q4_k_m"\n\n') + shipped)
    known = load_catalog(bench.catalog)
    with pytest.raises(CatalogError, match=f"me/tiny: build.draft: {draft}: quantization: q4_k_m is not offered"):
        draft_entry(known.get(ID), known)


def test_a_length_alone_is_refused(tmp_path: Path) -> None:
    bench = drafted_bench(tmp_path)
    text = bench.catalog.read_text().replace(f'draft = "{DRAFT}"', "max_draft_len = 5")
    bench.catalog.write_text(text)
    with pytest.raises(CatalogError, match="max_draft_len: `draft` names the model that writes the drafts"):
        load_catalog(bench.catalog)


def test_the_draft_model_takes_the_limits_of_the_model(tmp_path: Path) -> None:
    bench = drafted_bench(tmp_path)
    known = load_catalog(bench.catalog)
    entry = known.get(ID).changed({"max_batch_size": 7}, 128)
    draft = draft_entry(entry, known)
    assert (draft.name, draft.context_length) == ("tiny_draft", 128)
    assert (draft.build.max_batch_size, draft.build.max_num_tokens) == (7, 512)
    (alone, ours), (both, together) = to_fit(entry, draft)
    assert (alone, both) == (draft, entry) and ours == estimate(draft)
    assert together.weights == ours.weights + estimate(entry).weights
    assert together.least > ours.least + estimate(entry).least
    # The first takes its part, the second its part of the rest; the worse order counts.
    free = 10_000_000
    worst = min(free * 0.6 * 0.8, free * 0.2 * 0.4) / (together.kv_per_token / 2)
    found = together.tokens_in(together.weights + together.activations + (1 << 30) + free)
    assert found == pytest.approx(worst, abs=1)


def test_on_gpus_of_its_own_it_takes_none_of_the_model_s(tmp_path: Path) -> None:
    bench = drafted_bench(tmp_path, "", f'{SETTINGS}draft_gpu_device_ids = "1"')
    known = load_catalog(bench.catalog)
    entry = known.get(ID)
    assert to_fit(entry, draft_entry(entry, known))[1][1] == estimate(entry)
    assert draft_entry(entry, known).settings["gpu_device_ids"] == "1" and entry.settings["gpu_device_ids"] == ""
    assert entry.settings["kv_cache_free_gpu_mem_fraction"] == 0.9, "all of its own GPU"


def test_a_draft_model_that_was_removed(built: tuple[Bench, str], tmp_path: Path) -> None:
    bench, _ = built
    known = load_catalog(bench.catalog)
    shutil.copytree(bench.folder / "work" / "tiny", tmp_path / "work" / "tiny")
    entry = finished_entry(known.get(ID), tmp_path / "work")
    with pytest.raises(CatalogError, match=r"its draft model is not built in .*llm_engine\.py me/tiny"):
        finished_draft(entry, known, tmp_path / "work")


def test_what_the_dry_run_says(tmp_path: Path) -> None:
    bench = drafted_bench(tmp_path)
    answer = bench.built(ID, "--dry-run")
    assert answer.stdout.count("trtllm-build --checkpoint_dir") == 2
    assert "me/tiny_draft: tensorrt_llm, bf16" in answer.stdout and not (tmp_path / "work").exists()


def test_vocabularies(tmp_path: Path) -> None:
    def digest(model: dict[str, Any], added: list[dict[str, Any]]) -> str:
        (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": added}))
        return vocabulary_digest(tmp_path / "tokenizer.json")

    end = {"id": 2, "content": "</s>", "special": True}
    bpe = digest({"vocab": {"a": 0, "b": 1}, "merges": ["a b"]}, [end])
    assert bpe == digest({"vocab": {"b": 1, "a": 0}, "merges": []}, [{**end, "lstrip": True}])
    assert bpe == digest({"vocab": [["a", -1.5], ["b", -2.5]]}, [end])
    assert bpe != digest({"vocab": {"a": 1, "b": 0}}, [end])
    assert bpe != digest({"vocab": {"a": 0, "b": 1}}, [{**end, "content": "<end>"}])
    with pytest.raises(CheckpointError, match="no vocabulary is found"):
        digest({"vocab": 7}, [])
