"""A build of an embedding model that dies by `kill -9` in any of its stages, and goes on from there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.test_llm_engine_kill import PATIENCE, alive, hanging_tool, until
from tests.unit.build.pretend_build import end_suddenly
from tests.unit.build.pretend_embedding_build import embedding_bench

PLAN, CUDA = ("sentence-t5", ["graph", "plan", "check"]), ("sentence-t5.cuda", ["graph", "check"])


@pytest.mark.parametrize(
    ("arguments", "build", "tool", "stage", "left"),
    [
        ((), PLAN, "trtexec", "plan", ["trtexec", "trtexec-run", "trtexec-run"]),
        ((), PLAN, "trtexec-run", "check", ["trtexec-run", "trtexec-run"]),
        (("--provider", "cuda"), CUDA, "cuda", "check", ["cuda"]),
    ],
)
def test_killed_in_a_tool_it_goes_on_from_there(
    tmp_path: Path, arguments: tuple[str, ...], build: tuple[str, list[str]], tool: str, stage: str, left: list[str]
) -> None:
    bench, (name, stages) = embedding_bench(tmp_path), build
    process = bench.start(*arguments, fault=f"{tool}:hang")
    until((tmp_path / "record.hanging").exists, process)
    running = hanging_tool(bench)
    process.kill()
    process.communicate(timeout=PATIENCE)
    folder = tmp_path / "work" / name
    assert (folder / f"{stage}.partial" / "half.bin").exists() and not (folder / stage).exists()
    assert list(bench.manifest(name)["stages"]) == stages[: stages.index(stage)] and not bench.repository.exists()
    bench.calls()

    bench.built(*arguments)
    assert not alive(running), "the tool outlives the script that started it"
    assert bench.calls() == Counter(left), "what was made before is not made again"
    assert list(bench.manifest(name)["stages"]) == stages
    assert not (folder / stage / "half.bin").exists(), "nothing of the broken run is in the result"
    assert (bench.repository / "sentence-t5_encoder" / "1").is_dir()


@pytest.mark.parametrize(
    "moment",
    [
        r"os.rename /files/\w+/model\.safetensors",  # of the weights, into the cache
        r"os.rename /derived/\.embedding-graph",  # the ONNX graph is written, and not in its place
        r"os.symlink /graph\.partial/model\.onnx",
        r"os.rename /graph\.partial ",
        r"os.rename /manifest\.json\.new ",
    ],
)
def test_killed_before_its_tools_it_goes_on_from_there(tmp_path: Path, moment: str) -> None:
    bench = embedding_bench(tmp_path)
    end_suddenly(bench, moment, "--provider", "cuda")
    assert not bench.calls() and not bench.repository.exists()
    bench.built("--provider", "cuda")
    assert list(bench.manifest(CUDA[0])["stages"]) == CUDA[1] and bench.calls() == Counter({"cuda": 1})
    assert (bench.repository / "sentence-t5_encoder" / "1" / "model.onnx").is_file()
    derived = tmp_path / "cache" / "derived"
    assert not [path for path in derived.iterdir() if path.is_dir() and path.name.startswith(".")], "nothing is left"
