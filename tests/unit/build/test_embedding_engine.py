"""build/embedding_engine.py with a pretend trtexec: the plan, its check against the graph, and the repository."""

from __future__ import annotations

import json
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
from tests.support.t5_catalog import ID, write_catalog
from tests.support.t5_oracle import write_t5
from tests.unit.build.pretend_build import ROOT, Bench


class EmbeddingBench(Bench):
    def command(self, *arguments: str) -> list[str]:
        script = str(ROOT / "build" / "embedding_engine.py")
        given = ["--catalog", str(self.catalog), "--work", str(self.folder / "work")]
        return [sys.executable, script, ID, *arguments, *given, "--output", str(self.repository)]


@pytest.fixture
def bench(tmp_path: Path) -> EmbeddingBench:
    made = EmbeddingBench(tmp_path)
    write_catalog(write_t5(tmp_path)).rename(made.catalog)
    return made


def config_of(folder: Path) -> Any:
    config = model_config_pb2.ModelConfig()
    text_format.Parse((folder / "config.pbtxt").read_text(), config)
    return config


def encoder_of(bench: Bench) -> Path:
    return bench.repository / "sentence-t5_encoder"


def test_a_plan_from_end_to_end(bench: EmbeddingBench) -> None:
    bench.built()
    assert bench.calls() == Counter({"trtexec": 2})
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


def test_a_plan_that_computes_something_else_is_refused(bench: EmbeddingBench) -> None:
    answer = bench.run(fault="trtexec:wrong")
    assert answer.returncode == 1 and not bench.repository.exists()
    assert "the plan's vectors differ from the graph's: cosine 0.9" in answer.stderr
    assert "check" not in bench.manifest("sentence-t5")["stages"]
    bench.calls()
    bench.built()
    assert bench.calls() == Counter({"trtexec": 1}), "the plan is kept, and looked at again"


def test_the_gpu_without_a_plan(bench: EmbeddingBench) -> None:
    bench.built("--provider", "cuda")
    assert bench.calls() == Counter()
    config = config_of(encoder_of(bench))
    assert config.backend == "python" and config.parameters["provider"].string_value == "cuda"
    assert {path.name for path in (encoder_of(bench) / "1").iterdir()} == {"model.py", "model.onnx"}


def test_dry_run_prints_the_commands_and_does_nothing(bench: EmbeddingBench) -> None:
    answer = bench.built("--dry-run", "--precision", "bf16")
    assert not (bench.folder / "work").exists() and not (bench.folder / "cache").exists()
    printed = [line.removeprefix("  $ ") for line in answer.stdout.splitlines() if line.startswith("  $ ")]
    bench.built()
    stages = bench.manifest("sentence-t5")["stages"].values()
    assert printed == [shlex.join(command) for stage in stages for command in stage["commands"]]


@pytest.mark.parametrize(
    ("arguments", "fault", "message"),
    [
        (["--precision", "int8"], "", "--precision: int8; known: fp16, bf16, fp32"),
        (["--provider", "rocm"], "", "--provider: rocm; cuda is known"),
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
