"""build/embedding_engine.py with a pretend trtexec and a pretend CUDA provider: what is built, how it is checked."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from build.assemble import prepare
from tests.support.t5_catalog import ID
from tests.unit.build.pretend_build import ROOT, TOOLS
from tests.unit.build.pretend_embedding_build import EmbeddingBench, embedding_bench


@pytest.fixture
def bench(tmp_path: Path) -> EmbeddingBench:
    return embedding_bench(tmp_path)


def config_of(folder: Path) -> Any:
    config = model_config_pb2.ModelConfig()
    text_format.Parse((folder / "config.pbtxt").read_text(), config)
    return config


def encoder_of(bench: EmbeddingBench) -> Path:
    return bench.repository / "sentence-t5_encoder"


def test_a_plan_from_end_to_end(bench: EmbeddingBench) -> None:
    bench.built()
    assert bench.calls() == Counter({"trtexec": 1, "trtexec-run": 2})
    manifest = bench.manifest("sentence-t5")
    assert list(manifest["stages"]) == ["graph", "plan", "check"]
    command = shlex.join(manifest["stages"]["plan"]["commands"][0])
    assert "--bf16" in command and "--fp16" not in command, "T5 leaves the range of FP16"
    for shapes in ("max", "opt", "min"):
        assert command.count(f"--{shapes}Shapes=input_ids:") == 2
    assert command.endswith("--maxShapes=input_ids:64x256,attention_mask:64x256")

    config = config_of(encoder_of(bench))
    assert config.platform == "tensorrt_plan" and list(config.instance_group[0].profile) == ["0", "1"]
    files = {path.name for path in (encoder_of(bench) / "1").iterdir()}
    assert files == {"model.plan"}, "the plan, and no code that nobody runs"
    onnx = prepare([ID], bench.folder / "cpu", bench.folder / "cache", catalog=bench.catalog)
    cpu = config_of(onnx / "sentence-t5_encoder")
    for kind in ("input", "output"):
        described = [
            [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in getattr(found, kind)]
            for found in (config, cpu)
        ]
        assert described[0] == described[1]
    wanted = {key: value.string_value for key, value in cpu.parameters.items()}
    found = {key: value.string_value for key, value in config.parameters.items()}
    own = {"weights", "threads", "provider", "engine", "tokenizer_dir"}
    assert {key: value for key, value in wanted.items() if key not in own} == {
        key: value for key, value in found.items() if key not in own
    }
    bench.built()
    assert bench.calls() == Counter()


def test_a_catalog_that_says_tensorrt_takes_the_finished_plan(bench: EmbeddingBench) -> None:
    bench.catalog.write_text(bench.catalog.read_text().replace("onnxruntime", "tensorrt"))
    where = {"catalog": bench.catalog, "work": bench.folder / "work"}
    with pytest.raises(ValueError, match=f"has no plan in .*: python build/embedding_engine.py {ID}"):
        prepare([ID], bench.repository, bench.folder / "cache", **where)
    bench.built()
    prepare([ID], bench.repository, bench.folder / "cache", **where)
    assert (encoder_of(bench) / "1" / "model.plan").is_file()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("wrong", "the GPU's vectors differ from the graph's: cosine 0.9"),
        ("wrong1", "the GPU's vectors differ from the graph's: cosine 0.9"),
        ("nan", "numbers that are not finite"),
    ],
)
def test_a_plan_that_computes_something_else_is_refused(bench: EmbeddingBench, fault: str, message: str) -> None:
    answer = bench.run(fault=f"trtexec-run:{fault}")
    assert answer.returncode == 1 and not bench.repository.exists()
    assert message in answer.stderr and "--precision fp32 keeps more of the range" in answer.stderr
    assert "check" not in bench.manifest("sentence-t5")["stages"]
    bench.calls()
    bench.built()
    assert bench.calls() == Counter({"trtexec-run": 2}), "the plan is kept, and looked at again"


def test_a_new_plan_that_fails_its_check_is_not_taken_later(bench: EmbeddingBench) -> None:
    bench.catalog.write_text(bench.catalog.read_text().replace("onnxruntime", "tensorrt"))
    where = {"catalog": bench.catalog, "work": bench.folder / "work"}
    bench.built()
    text = bench.catalog.read_text()
    bench.catalog.write_text(f"{text}[models.settings]\nmax_batch_size = 32\n")
    assert bench.run(fault="trtexec-run:wrong").returncode == 1
    with pytest.raises(ValueError, match="has no plan in"):
        prepare([ID], bench.repository, bench.folder / "cache", **where)
    bench.built()
    prepare([ID], bench.repository, bench.folder / "cache", **where)


def test_the_gpu_without_a_plan(bench: EmbeddingBench) -> None:
    bench.built("--provider", "cuda")
    assert bench.calls() == Counter({"cuda": 1})
    manifest = bench.manifest("sentence-t5.cuda")
    assert list(manifest["stages"]) == ["graph", "check"] and manifest["model"]["provider"] == "cuda"
    log = (bench.folder / "work" / "sentence-t5.cuda" / "logs" / "check.log").read_text()
    assert "CUDAExecutionProvider: 8 x 24 numbers" in log
    config = config_of(encoder_of(bench))
    assert config.backend == "python" and config.parameters["provider"].string_value == "cuda"
    assert {path.name for path in (encoder_of(bench) / "1").iterdir()} == {"model.py", "model.onnx"}
    bench.built("--provider", "cuda")
    assert bench.calls() == Counter()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("fallback", "goes on with CPUExecutionProvider though CUDAExecutionProvider was asked for"),
        ("late", "CUDA failure 2: out of memory"),
        ("wrong", "the GPU's vectors differ from the graph's: cosine 0.9"),
        ("nan", "the GPU's vectors hold numbers that are not finite"),
        ("shape", "the GPU's vectors are [8, 23], the graph's [8, 24]"),
        ("empty", "vectors.npy: FileNotFoundError"),
    ],
)
def test_a_gpu_that_does_not_compute_the_graph_is_refused(bench: EmbeddingBench, fault: str, message: str) -> None:
    answer = bench.run("--provider", "cuda", fault=f"cuda:{fault}")
    assert answer.returncode == 1 and message in answer.stderr, answer.stderr
    assert not bench.repository.exists() and list(bench.manifest("sentence-t5.cuda")["stages"]) == ["graph"]


def test_without_onnxruntime_gpu_it_is_the_real_one_that_refuses(bench: EmbeddingBench) -> None:
    bench.environment.pop("PYTHONPATH")
    answer = bench.run("--provider", "cuda")
    assert answer.returncode == 1 and "has no CUDAExecutionProvider, only" in answer.stderr
    assert not bench.repository.exists()


def test_the_check_in_a_container(bench: EmbeddingBench) -> None:
    bench.environment["PATH"] = os.pathsep.join([str(TOOLS / "with_docker"), bench.variables()["PATH"]])
    bench.built("--provider", "cuda", "--container", "image/of:tests")
    calls = [json.loads(line) for line in (bench.folder / "record").read_text().splitlines()]
    line = next(call["arguments"] for call in calls if call["tool"] == "docker" and call["arguments"][0] == "run")
    command = line[line.index("image/of:tests") + 1 :]
    seen = [part.split(":")[0] for flag, part in itertools.pairwise(line) if flag == "--volume"]
    for path in (part.split("=")[-1] for part in command if "/" in part.split("=")[-1]):
        assert any(Path(path).is_relative_to(folder) for folder in seen), f"{path} is not in the container"
    assert command[0] == "python3" and calls[-1]["tool"] == "cuda"
    assert bench.manifest("sentence-t5.cuda")["stages"]["check"]["versions"] == {"container": "image/of:tests sha256:1"}


def test_a_plan_and_cuda_of_one_model_do_not_undo_each_other(bench: EmbeddingBench) -> None:
    bench.built()
    bench.built("--provider", "cuda")
    bench.calls()
    bench.built()
    assert bench.calls() == Counter()


def test_dry_run_prints_the_commands_and_does_nothing(bench: EmbeddingBench) -> None:
    answer = bench.built("--dry-run", "--precision", "bf16")
    assert not (bench.folder / "work").exists() and not (bench.folder / "cache").exists()
    assert "disk: " in answer.stdout and "GPU memory: weights " in answer.stdout
    assert "by usual proportions: its config.json is not here yet" in answer.stdout
    printed = [line.removeprefix("  $ ") for line in answer.stdout.splitlines() if line.startswith("  $ ")]
    bench.built()
    stages = bench.manifest("sentence-t5")["stages"].values()
    assert printed == [shlex.join(command) for stage in stages for command in stage["commands"]]


@pytest.mark.parametrize(
    ("arguments", "fault", "message"),
    [
        (["--precision", "int8"], "", "--precision: int8; known: fp16, bf16, fp32"),
        (["--provider", "rocm"], "", "--provider: rocm; cuda is known"),
        (["--provider", "cuda", "--precision", "fp16"], "", "--precision: fp16; --provider cuda computes in fp32"),
        ([], "trtexec:fail", "CUDA out of memory"),
        ([], "trtexec:empty", "is missing or empty, though trtexec ended well"),
    ],
)
def test_what_goes_wrong(bench: EmbeddingBench, arguments: list[str], fault: str, message: str) -> None:
    answer = bench.run(*arguments, fault=fault)
    assert answer.returncode == 1 and message in answer.stderr
    assert not bench.repository.exists()


def test_other_models_are_refused(tmp_path: Path) -> None:
    script = str(ROOT / "build" / "embedding_engine.py")
    command = [sys.executable, script, "qwen/qwen2.5-coder-0.5b-instruct"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert answer.returncode == 1 and "is a chat model; this builds embedding models" in answer.stderr


def test_a_dense_layer_belongs_to_the_vector(bench: EmbeddingBench) -> None:
    bench.catalog.write_text(bench.catalog.read_text().replace("dimensions = 24", "dimensions = 32"))
    answer = bench.run()
    assert answer.returncode == 1 and "dimensions: the catalog says 32, the weights 24" in answer.stderr


def test_the_manifest_is_for_these_limits(bench: EmbeddingBench) -> None:
    bench.built("--max-batch-size", "8")
    assert config_of(encoder_of(bench)).max_batch_size == 8
    facts = json.loads((bench.folder / "work" / "sentence-t5" / "manifest.json").read_text())["model"]
    assert facts["max_batch_size"] == 8 and facts["precision"] == "bf16"
