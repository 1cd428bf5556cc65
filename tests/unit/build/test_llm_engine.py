"""build/llm_engine.py with pretend tools: the stages, what they depend on, and the repository at the end."""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from build.catalog import CatalogError, load_catalog
from build.llm_plan import finished_entry
from build.manifest import read_manifest
from tests.unit.build.file_server import FileServer
from tests.unit.build.pretend_build import (
    COMMIT,
    ID,
    STAGES,
    TOOLS,
    Bench,
    bench_of,
    catalog_text,
    end_suddenly,
    put_on_hub,
    write_checkpoint,
)

CONTRACT = json.loads((Path(__file__).parents[2] / "data" / "trtllm" / "tensors.json").read_text())
ALL = Counter({"convert": 1, "trtllm-build": 1, "tokenizer_info": 1})


def config_of(folder: Path) -> Any:
    config = model_config_pb2.ModelConfig()
    text_format.Parse((folder / "config.pbtxt").read_text(), config)
    return config


def test_a_compiled_engine_from_end_to_end(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    answer = bench.built()
    assert bench.calls() == ALL
    for number, stage in enumerate(STAGES, 1):
        assert f"[{number}/5] {stage}: begins" in answer.stderr
    assert "GPU memory: weights" in answer.stderr
    manifest = bench.manifest()
    assert list(manifest["stages"]) == STAGES
    engine = manifest["stages"]["engine"]
    assert engine["commands"][0][0] == "trtllm-build" and engine["seconds"] > 0 and engine["started"].startswith("20")
    assert engine["files"].keys() == {"config.json", "rank0.engine"}
    assert engine["versions"] == {"tensorrt-llm": "not installed in this Python"}
    assert not list((tmp_path / "work" / "tiny").glob("*.partial*"))

    folder = bench.repository / "tiny_engine"
    config = config_of(folder)
    assert config.backend == "tensorrtllm" and config.max_batch_size == 64
    for kind in ("inputs", "outputs"):
        found = {tensor.name: tensor for tensor in getattr(config, kind.rstrip("s"))}
        for wanted in CONTRACT[kind]:
            tensor = found.pop(wanted["name"])
            assert list(tensor.dims) == wanted["dims"]
            dtype = model_config_pb2.DataType.Name(tensor.data_type)
            assert dtype == (wanted["dtype"] or dtype)
        assert not found
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert parameters["gpt_model_path"] == str(folder / "engine")
    assert parameters["enable_chunked_context"] == parameters["enable_kv_cache_reuse"] == "true"
    assert parameters["engine"] == "tensorrt_llm 1.2.1" and parameters["context_length"] == "256"
    assert (parameters["vocab_size"], parameters["end_ids"], parameters["served_model_id"]) == ("300", "1", ID)
    info = Path(parameters["xgrammar_tokenizer_info_path"])
    assert info.parent == folder and len(json.loads(info.read_text())["encoded_vocab"]) == 300
    assert (folder / "engine" / "rank0.engine").is_file()
    ensemble = config_of(bench.repository / "tiny")
    assert ensemble.ensemble_scheduling.step[1].model_name == "tiny_engine"


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.built()
    bench.calls()
    before = read_manifest(tmp_path / "work" / "tiny").stages
    answer = bench.built()
    assert bench.calls() == Counter()
    assert answer.stderr.count("is there") == 5
    assert read_manifest(tmp_path / "work" / "tiny").stages == before


def test_a_change_makes_what_depends_on_it_and_no_more(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.built()
    bench.calls()

    bench.built(ID, "--max-batch-size", "8")
    assert bench.calls() == Counter({"trtllm-build": 1})
    assert config_of(bench.repository / "tiny_engine").max_batch_size == 8
    bench.built()
    assert bench.calls() == Counter({"trtllm-build": 1})

    config = json.loads((tmp_path / "hf" / "tokenizer_config.json").read_text())
    (tmp_path / "hf" / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": "another"}))
    bench.built()
    assert bench.calls() == Counter({"tokenizer_info": 1})
    rendered = bench.repository / "tiny_preprocessing" / "tokenizer" / "tokenizer_config.json"
    assert json.loads(rendered.read_text())["chat_template"] == "another"

    write_checkpoint(tmp_path / "other", seed=1)
    os.replace(tmp_path / "other" / "model.safetensors", tmp_path / "hf" / "model.safetensors")
    bench.built()
    assert bench.calls() == Counter({"convert": 1, "trtllm-build": 1})

    # Touched, not changed: the checkpoint is looked at again, and nothing follows from it.
    os.utime(tmp_path / "hf" / "model.safetensors", ns=(1, 1))
    bench.built()
    assert bench.calls() == Counter()

    (tmp_path / "work" / "tiny" / "engine" / "rank0.engine").write_text("spoilt")
    bench.built()
    assert bench.calls() == Counter({"trtllm-build": 1})


def test_options_of_the_catalog_reach_the_commands(tmp_path: Path) -> None:
    options = """
quantization = "int4_awq"
tensor_parallel = 2
pipeline_parallel = 2
kv_cache_dtype = "int8"
chunked_context = false
lora_modules = ["attn_q", "attn_v"]
max_lora_rank = 16
gather_generation_logits = false
calib_size = 32
"""
    bench = bench_of(tmp_path, options)
    bench.environment["PRETEND_GPUS"] = "\n".join(["NVIDIA L4, 23034, 22500, 8.9"] * 4)
    bench.built()
    assert bench.calls() == Counter({"quantize": 1, "trtllm-build": 1, "tokenizer_info": 1})
    stages = bench.manifest()["stages"]
    quantize = shlex.join(stages["weights"]["commands"][0])
    assert (
        "--qformat int4_awq --dtype auto --kv_cache_dtype int8 --calib_dataset cnn_dailymail --calib_size 32"
        in quantize
    )
    assert quantize.endswith("--awq_block_size 128 --tp_size 2 --pp_size 2")
    compiler = shlex.join(stages["engine"]["commands"][0])
    for part in (
        "--max_batch_size 64 --max_input_len 256 --max_seq_len 256 --max_num_tokens 512 --max_beam_width 1",
        "--kv_cache_type paged --use_paged_context_fmha disable",
        "--lora_plugin auto --lora_target_modules attn_q attn_v --max_lora_rank 16",
    ):
        assert part in compiler
    assert "gather_generation_logits" not in compiler
    assert stages["engine"]["files"].keys() == {"config.json", *(f"rank{rank}.engine" for rank in range(4))}
    # The backend refuses an engine without paged context FMHA that is to reuse its cache.
    parameters = config_of(bench.repository / "tiny_engine").parameters
    assert parameters["enable_kv_cache_reuse"].string_value == "false"
    assert parameters["enable_chunked_context"].string_value == "false"


def test_limits_that_the_compiler_would_change(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.built(ID, "--max-batch-size", "1")
    compiler = shlex.join(bench.manifest()["stages"]["engine"]["commands"][0])
    assert "--max_batch_size 1 --max_input_len 256 --max_seq_len 256 --max_num_tokens 256" in compiler


def test_a_quantization_in_the_id_is_a_model_of_its_own(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.built()
    bench.built(f"{ID}:fp8")
    names = {path.name for path in bench.repository.iterdir() if path.is_dir()}
    assert {"tiny_engine", "tiny-fp8_engine"} <= names
    parameters = config_of(bench.repository / "tiny-fp8_engine").parameters
    assert parameters["served_model_id"].string_value == "me/tiny:fp8"
    command = shlex.join(bench.manifest("tiny-fp8")["stages"]["engine"]["commands"][0])
    assert "--gemm_plugin disable" in command and "--use_fp8_context_fmha enable" in command


def test_the_llm_api_compiles_nothing(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 'engine = "tensorrt_llm_api"')
    bench.built()
    assert bench.calls() == Counter()
    assert list(bench.manifest()["stages"]) == ["checkpoint", "tokenizer"]
    bench.built(f"{ID}:fp8")
    assert bench.calls() == Counter({"quantize": 1})
    stages = bench.manifest("tiny-fp8")["stages"]
    assert stages["weights"]["commands"][0][-2:] == ["--export_format", "hf"]
    folder = bench.repository / "tiny-fp8_engine"
    config = config_of(folder)
    assert config.backend == "python"
    assert (folder / "engine" / "hf_quant_config.json").is_file() and (folder / "engine" / "tokenizer.json").is_file()
    assert config.parameters["engine"].string_value == "tensorrt_llm_api"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hf_quant_config.json", {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}),
        ("config.json", {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}),
    ],
)
def test_a_checkpoint_that_is_published_quantized(tmp_path: Path, name: str, content: dict[str, Any]) -> None:
    bench = bench_of(tmp_path, 'engine = "tensorrt_llm_api"', quantization="fp8")
    path = tmp_path / "hf" / name
    before = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**before, **content}))
    bench.built()
    assert bench.calls() == Counter() and list(bench.manifest()["stages"]) == ["checkpoint", "tokenizer"]
    served = bench.repository / "tiny_engine" / "engine"
    assert json.loads((served / name).read_text())[next(reversed(content))] == next(reversed(content.values()))


def test_dry_run_prints_the_commands_and_does_nothing(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    answer = bench.built(ID, "--dry-run")
    assert bench.calls() == Counter() and not (tmp_path / "work").exists() and not bench.repository.exists()
    printed = [line.removeprefix("  $ ") for line in answer.stdout.splitlines() if line.startswith("  $ ")]
    bench.built()
    made = [shlex.join(command) for stage in bench.manifest()["stages"].values() for command in stage["commands"]]
    assert printed == made and len(printed) == 3


def test_tools_in_a_container(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    path = os.pathsep.join([str(TOOLS / "with_docker"), str(TOOLS / "bin")])
    bench.environment["PATH"] = os.pathsep.join([path, bench.variables()["PATH"]])
    bench.environment["HF_TOKEN"] = "hf_secret"
    bench.built(ID, "--container", "image/of:tests")
    record = [json.loads(line) for line in (tmp_path / "record").read_text().splitlines()]
    docker = [call["arguments"] for call in record if call["tool"] == "docker"]
    assert docker[0] == ["rm", "--force", "tritongate-build-tiny"]
    assert len(docker) == 4
    for arguments in docker[1:]:
        line = shlex.join(arguments)
        assert "--gpus all" in line and f"--volume {tmp_path / 'work'}:{tmp_path / 'work'}" in line
        assert f"--volume {tmp_path / 'hf'}:{tmp_path / 'hf'}" in line
        assert "--env HF_TOKEN" in line and "hf_secret" not in line
    assert bench.manifest()["stages"]["engine"]["versions"] == {"container": "image/of:tests sha256:1"}
    # The tag stands for another image now, of another release perhaps: engines of the one are nothing to the other.
    bench.calls()
    bench.environment["PRETEND_IMAGE"] = ""
    bench.built(ID, "--container", "image/of:tests")
    calls = bench.calls()
    assert calls["trtllm-build"] == calls["convert"] == 1
    assert bench.manifest()["stages"]["engine"]["versions"] == {"container": "image/of:tests sha256:2"}


def test_a_container_sees_where_links_lead(tmp_path: Path) -> None:
    """A cache on another disk by a link, and a snapshot of Hugging Face's cache as a person's own checkpoint."""
    bench = bench_of(tmp_path)
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for path in (tmp_path / "hf").iterdir():
        path.rename(blobs / f"of-{path.name}")
        path.symlink_to(Path("..", "blobs", f"of-{path.name}"))
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    answer = bench.built(ID, "--dry-run", "--container", "image/of:tests")
    for folder in (tmp_path / "work", tmp_path / "cache", tmp_path / "disk", blobs):
        assert f"--volume {folder}:{folder}" in answer.stdout


def test_what_is_half_built_anew_is_not_assembled(tmp_path: Path) -> None:
    """Weights and limits of the new build beside the engine of the old one."""
    bench = bench_of(tmp_path)
    bench.built()
    text = bench.catalog.read_text()
    changed = 'max_num_tokens = 512\nmax_batch_size = 16\nquantization = "fp16"'
    bench.catalog.write_text(text.replace("max_num_tokens = 512", changed))
    assert bench.run(fault="trtllm-build:fail").returncode == 1
    assert bench.manifest()["stages"].keys() == set(STAGES), "the old engine is still there"
    with pytest.raises(CatalogError, match=r"is not built in .*: python build/llm_engine\.py me/tiny"):
        finished_entry(load_catalog(bench.catalog).get(ID), tmp_path / "work")
    bench.built()
    entry = finished_entry(load_catalog(bench.catalog).get(ID), tmp_path / "work")
    assert entry.settings["max_batch_size"] == 16


def test_what_is_killed_while_a_stage_takes_its_place_is_not_assembled(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.built()
    end_suddenly(bench, r"os.rename /engine\.partial ", ID, "--max-batch-size", "16")
    assert not (tmp_path / "work" / "tiny" / "engine").exists()
    with pytest.raises(CatalogError, match="is not built in"):
        finished_entry(load_catalog(bench.catalog).get(ID), tmp_path / "work")


def test_a_new_build_that_fails_at_once_leaves_the_old_one(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.built()
    assert bench.run(ID, "--max-batch-size", "16", fault="trtllm-build:fail").returncode == 1
    entry = finished_entry(load_catalog(bench.catalog).get(ID), tmp_path / "work")
    assert entry.settings["max_batch_size"] == 64


def test_a_checkpoint_of_a_hub(tmp_path: Path, server: FileServer) -> None:
    put_on_hub(write_checkpoint(tmp_path / "published"), server.files)
    bench = Bench(tmp_path, {"HF_ENDPOINT": server.url, "HF_TOKEN": "hf_secret"})
    bench.catalog.write_text(catalog_text('hub = "me/tiny"'))
    bench.built()
    assert bench.manifest()["stages"]["checkpoint"]["inputs"]["checkpoint"] == f"me/tiny@{COMMIT}"
    assert not any("original" in path for path, _ in server.requests)
    # Another quantization shares the download of the weights.
    server.requests.clear()
    bench.built(f"{ID}:fp8")
    assert not any("safetensors" in path for path, _ in server.requests)
    # What is built needs the hub no more.
    server.status = 503
    bench.calls()
    answer = bench.built(ID, "--max-batch-size", "4")
    assert f"going on with commit {COMMIT}, which is here" in answer.stderr
    assert bench.calls() == Counter({"trtllm-build": 1})


def test_the_entry_of_llama_cpp_is_served_by_its_own_engine(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.catalog.write_text((Path(__file__).parents[3] / "build" / "catalog.toml").read_text())
    answer = bench.built("qwen/qwen2.5-coder-0.5b-instruct:q4_k_m", "--dry-run")
    assert "llama_cpp, nothing is compiled" in answer.stdout
    answer = bench.run("qwen/qwen2.5-coder-0.5b-instruct:q4_k_m", "--max-seq-len", "64")
    assert answer.returncode == 1 and "its limits are those of the catalog" in answer.stderr


@pytest.mark.parametrize(
    "model", ["meta/llama-3.1-8b-instruct", "meta/llama-3.3-70b-instruct", "qwen/qwen2.5-7b-instruct"]
)
def test_models_that_ship_have_a_plan(tmp_path: Path, model: str) -> None:
    bench = Bench(tmp_path)
    bench.catalog.write_text((Path(__file__).parents[3] / "build" / "catalog.toml").read_text())
    answer = bench.run(model, "--dry-run", "--gpu-memory", "80")
    assert "trtllm-build --checkpoint_dir" in answer.stdout
    assert answer.returncode == 0 or "GB are needed" in answer.stderr
