"""What goes wrong in a build: tools, checkpoints, disks and GPUs that are not what they should be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.build.file_server import FileServer
from tests.unit.build.pretend_build import (
    COMMIT,
    ID,
    TOOLS,
    Bench,
    bench_of,
    catalog_text,
    put_on_hub,
    write_checkpoint,
)


def refused(bench: Bench, *parts: str, arguments: tuple[str, ...] = (), fault: str = "") -> str:
    answer = bench.run(*arguments, fault=fault)
    assert answer.returncode == 1, answer.stderr
    error = answer.stderr[answer.stderr.index("error: ") :]
    for part in parts:
        assert part in error, error
    assert not bench.repository.exists()
    return error


def test_a_failing_tool_has_the_last_word(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    error = refused(
        bench,
        "trtllm-build --checkpoint_dir",
        "failed with exit code 3",
        "  | trtllm-build: line 29",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        str(tmp_path / "work" / "tiny" / "logs" / "engine.log"),
        fault="trtllm-build:fail",
    )
    assert "line 5\n" not in error, "the last lines, not all"
    log = (tmp_path / "work" / "tiny" / "logs" / "engine.log").read_text()
    assert log.startswith("$ trtllm-build") and "line 5\n" in log
    bench.built()


def test_a_full_disk(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    refused(bench, "No space left on device", "GB are free in", arguments=(f"{ID}:fp8",), fault="quantize:full")


def test_a_tool_that_makes_nothing(tmp_path: Path) -> None:
    refused(bench_of(tmp_path), "engine.partial/config.json", "No such file", fault="trtllm-build:empty")


def test_tools_that_are_not_there(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").symlink_to(TOOLS / "bin" / "nvidia-smi")
    answer = bench.run(path=tmp_path / "bin")
    assert answer.returncode == 1 and "trtllm-build is not on PATH: run inside the TensorRT-LLM" in answer.stderr
    bench.environment["TRTLLM_EXAMPLES"] = str(tmp_path / "nowhere")
    refused(bench, "nowhere/quantization/quantize.py", "No such file", arguments=(f"{ID}:fp8",))
    if not any(Path(folder, "docker").exists() for folder in ("/usr/bin", "/bin")):
        refused(bench, "docker is not on PATH", arguments=(f"{ID}:fp8", "--container", "an/image"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json", "model.safetensors"])
def test_a_file_of_the_checkpoint_is_missing(tmp_path: Path, name: str) -> None:
    bench = bench_of(tmp_path)
    (tmp_path / "hf" / name).unlink()
    refused(bench, name)
    assert not bench.calls(), "no tool is started"


def test_a_shard_of_the_weights_is_missing_or_cut_off(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    weights = tmp_path / "hf" / "model.safetensors"
    index = tmp_path / "hf" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": weights.name, "b": "model-2.safetensors"}}))
    refused(bench, "model-2.safetensors is missing")
    index.write_text(json.dumps({"weight_map": {"other.weight": weights.name}}))
    refused(bench, "lacks other.weight")
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    refused(bench, "no file beside it")
    index.unlink()
    os.truncate(weights, weights.stat().st_size - 1)
    refused(bench, "its header speaks of")
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    refused(bench, "no safetensors file")
    assert not bench.calls()


def test_another_architecture_than_the_catalog_says(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    (tmp_path / "hf" / "config.json").write_text(json.dumps({**config, "architectures": ["MambaForCausalLM"]}))
    refused(bench, "architectures is MambaForCausalLM; the catalog says Qwen2ForCausalLM")
    (tmp_path / "hf" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    refused(bench, "num_hidden_layers is 3; the catalog says 2")


def test_an_architecture_without_a_converter(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.catalog.write_text(bench.catalog.read_text().replace("Qwen2ForCausalLM", "MambaForCausalLM"))
    refused(bench, "no converter is known for MambaForCausalLM", "LlamaForCausalLM", arguments=(ID, "--dry-run"))


def test_gpus_that_are_too_few_too_small_or_too_old(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    refused(bench, "needs 2 GPUs, 1 are here", "--gpu-memory", arguments=(ID, "--tensor-parallel", "2"))
    refused(bench, "nvfp4 needs compute capability 10.0, NVIDIA L4 has 8.9", arguments=(f"{ID}:nvfp4",))
    refused(bench, "GiB are needed on each GPU, a GPU has 1.0", arguments=(ID, "--gpu-memory", "1"))
    bench.environment["PRETEND_GPUS"] = "broken"
    refused(bench, "nvidia-smi: NVIDIA-SMI has failed because")
    bench.environment["PRETEND_GPUS"] = "NVIDIA L4, [N/A], 8.9"
    refused(bench, "is not understood; --gpu-memory GIB says it")
    bench.environment["PRETEND_GPUS"] = ""
    refused(bench, "--gpu-memory GIB says what the serving GPUs have")
    assert not bench.calls() and not (tmp_path / "work").exists(), "nothing is begun"


def test_a_disk_that_is_too_small(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, parameters=10**15)
    arguments = (ID, "--gpu-memory", "9999999")
    refused(bench, "GB are needed in", "GB are free", "--work", arguments=arguments)
    assert not bench.calls()


def test_limits_that_do_not_go_together(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, "chunked_context = false")
    refused(
        bench, "max_num_tokens: 128 is less than a prompt may have (256)", arguments=(ID, "--max-num-tokens", "128")
    )
    refused(bench, "engine: Input should be 'tensorrt_llm' or 'tensorrt_llm_api'", arguments=(ID, "--engine", "vllm"))
    refused(bench, "quantization: fp5 is not known", arguments=(f"{ID}:fp5",))


def test_a_checkpoint_in_another_quantization(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 'engine = "tensorrt_llm_api"', quantization="fp8")
    refused(bench, "config.json: nothing is said of a quantization; the catalog says fp8")
    (tmp_path / "hf" / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "NVFP4"}}')
    refused(bench, "hf_quant_config.json: the weights are in NVFP4; the catalog says fp8")
    bench.catalog.write_text(bench.catalog.read_text().replace('quantization = "fp8"', ""))
    refused(bench, "the weights are quantized, NVFP4; the catalog has no checkpoint.quantization")


@pytest.mark.parametrize(("dtype", "quantization"), [("int8", "bf16"), ("int8", "fp8"), ("fp8", "int4_awq")])
def test_a_cache_over_which_no_prompt_is_computed_in_pieces(tmp_path: Path, dtype: str, quantization: str) -> None:
    bench = bench_of(tmp_path, f'kv_cache_dtype = "{dtype}"')
    message = f"chunked_context: not over a cache of {dtype} beside {quantization} weights"
    refused(bench, message, arguments=(f"{ID}:{quantization}", "--dry-run"))


@pytest.mark.parametrize("quantization", ["int8_sq", "int4_awq"])
def test_what_the_compiler_refuses_on_blackwell(tmp_path: Path, quantization: str) -> None:
    bench = bench_of(tmp_path)
    bench.environment["PRETEND_GPUS"] = "NVIDIA B200, 183359, 180000, 10.0"
    refused(bench, f"refuses {quantization} for compute capability 10", arguments=(f"{ID}:{quantization}",))
    bench.environment["PRETEND_GPUS"] = "NVIDIA RTX PRO 6000, 97887, 97000, 12.0"
    bench.built(f"{ID}:{quantization}", "--dry-run")


def test_a_hub_that_refuses_or_lies(tmp_path: Path, server: FileServer) -> None:
    put_on_hub(write_checkpoint(tmp_path / "published"), server.files)
    bench = Bench(tmp_path, {"HF_ENDPOINT": server.url})
    bench.catalog.write_text(catalog_text('hub = "me/tiny"'))
    server.status = 401
    refused(bench, "accept the licence of me/tiny on the hub, and set HF_TOKEN")
    server.status = 200
    wrong = f"/me/tiny/resolve/{COMMIT}/tokenizer.json"
    right = server.files[wrong]
    server.files[wrong] = right[:-1] + b" "
    refused(bench, "tokenizer.json of hub me/tiny@main: git calls what came")
    server.files[wrong] = right
    weights = f"/me/tiny/resolve/{COMMIT}/model.safetensors"
    server.files[weights] = server.files[weights][:-1] + b"x"
    refused(bench, "model.safetensors could not be fetched", "its sha256 is")
    assert not bench.calls()


def test_assembling_what_is_not_built(tmp_path: Path) -> None:
    from build.assemble import prepare
    from build.catalog import CatalogError

    bench = bench_of(tmp_path)
    with pytest.raises(CatalogError, match=f"{ID}: is not built in .*: python build/llm_engine.py {ID}"):
        prepare([ID], bench.repository, tmp_path / "cache", catalog=bench.catalog, work=tmp_path / "work")
    bench.run(fault="tokenizer_info:fail")
    with pytest.raises(CatalogError, match="is not built"):
        prepare([ID], bench.repository, tmp_path / "cache", catalog=bench.catalog, work=tmp_path / "work")
    (tmp_path / "work" / "tiny" / "manifest.json").write_text("{")
    refused(bench, "manifest.json", "to build anew")
