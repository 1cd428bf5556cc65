"""A build that dies by `kill -9` in any of its stages, and goes on from there; two builds of one model at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.build.drafted_build import drafted_bench
from tests.unit.build.file_server import file_server
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

PATIENCE = 60.0  # seconds


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"


def hanging_tool(bench: Bench) -> int:
    return json.loads((bench.folder / "record").read_text().splitlines()[-1])["process"]


@pytest.mark.parametrize(
    ("quantization", "tool", "stage", "left"),
    [
        ("", "convert", "weights", ["convert", "trtllm-build", "tokenizer_info"]),
        (":fp8", "quantize", "weights", ["quantize", "trtllm-build", "tokenizer_info"]),
        ("", "trtllm-build", "engine", ["trtllm-build", "tokenizer_info"]),
        ("", "tokenizer_info", "tokenizer_info", ["tokenizer_info"]),
    ],
)
def test_killed_in_a_stage_it_goes_on_from_there(
    tmp_path: Path, quantization: str, tool: str, stage: str, left: list[str]
) -> None:
    bench = bench_of(tmp_path)
    process = bench.start(ID + quantization, fault=f"{tool}:hang")
    until((tmp_path / "record.hanging").exists, process)
    running = hanging_tool(bench)
    process.kill()
    process.communicate()
    end = time.monotonic() + PATIENCE
    while alive(running):
        assert time.monotonic() < end, "the tool outlives the script that started it"
        time.sleep(0.02)
    name = f"tiny{quantization.replace(':', '-')}"
    folder = tmp_path / "work" / name
    assert (folder / f"{stage}.partial" / "half.bin").exists() and not (folder / stage).exists()
    assert list(bench.manifest(name)["stages"]) == STAGES[: STAGES.index(stage)]
    bench.calls()

    bench.built(ID + quantization)
    assert bench.calls() == Counter(left), "what was made before is not made again"
    assert list(bench.manifest(name)["stages"]) == STAGES
    assert not (folder / stage / "half.bin").exists(), "nothing of the broken run is in the result"
    assert (bench.repository / f"{name}_engine" / "engine" / "rank0.engine").is_file()


@pytest.mark.parametrize(
    ("moment", "left", "made"),
    [
        (r"open /tokenizer\.partial/generation_config\.json w", ["tokenizer_info"], 3),  # half of it is written
        (r"os.rename /tokenizer\.partial ", ["tokenizer_info"], 3),
        # In its place, and the manifest does not know it yet.
        (r"os.rename#4 /manifest\.json\.new ", ["tokenizer_info"], 3),
        (r"os.rename#3 /manifest\.json\.new ", ["trtllm-build", "tokenizer_info"], 2),
    ],
)
def test_killed_between_tools_it_goes_on_from_there(tmp_path: Path, moment: str, left: list[str], made: int) -> None:
    bench = bench_of(tmp_path)
    end_suddenly(bench, moment)
    assert list(bench.manifest()["stages"]) == STAGES[:made] and not bench.repository.exists()
    bench.calls()
    bench.built()
    assert bench.calls() == Counter(left)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        made_here = bench.repository / "tiny_preprocessing" / "tokenizer" / name
        assert json.loads(made_here.read_text()).items() >= json.loads((tmp_path / "hf" / name).read_text()).items()


@pytest.mark.parametrize(
    ("moment", "made", "left"),
    [
        # The draft model's own build, in its compiler's place; then the stage that holds the vocabularies together.
        (r"os.rename /tiny_draft/engine\.partial ", [], {"convert": 1, "trtllm-build": 2, "tokenizer_info": 2}),
        (r"os.rename /tiny/draft\.partial ", STAGES[:1], {"convert": 1, "trtllm-build": 1, "tokenizer_info": 1}),
    ],
)
def test_killed_with_a_draft_model_it_goes_on_from_there(
    tmp_path: Path, moment: str, made: list[str], left: dict[str, int]
) -> None:
    bench = drafted_bench(tmp_path)
    end_suddenly(bench, moment)
    folder = tmp_path / "work" / "tiny" / "manifest.json"
    assert (list(bench.manifest()["stages"]) if folder.is_file() else []) == made and not bench.repository.exists()
    bench.calls()
    bench.built()
    assert bench.calls() == Counter(left)
    assert {"tiny_engine", "tiny_target", "tiny_draft"} <= {path.name for path in bench.repository.iterdir()}


def test_killed_in_the_download_it_goes_on_at_the_byte(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "published")
    half = (checkpoint / "model.safetensors").stat().st_size // 2
    with file_server() as server:
        put_on_hub(checkpoint, server.files)
        weights = f"/me/tiny/resolve/{COMMIT}/model.safetensors"
        server.stall_after[weights] = half
        bench = Bench(tmp_path, {"HF_ENDPOINT": server.url})
        bench.catalog.write_text(catalog_text('hub = "me/tiny"'))
        process = bench.start()
        until(lambda: any(path.stat().st_size == half for path in (tmp_path / "cache").rglob("*.hub")), process)
        process.kill()
        process.communicate()
        assert not (tmp_path / "work" / "tiny" / "manifest.json").exists()
        server.requests.clear()
        bench.built()
        assert (weights, f"bytes={half}-") in server.requests
        assert not any(path.endswith("/tokenizer.json") for path, _ in server.requests), "small files are kept too"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_it_takes_its_tool_along(tmp_path: Path, number: int) -> None:
    bench = bench_of(tmp_path)
    process = bench.start(fault="trtllm-build:hang")
    until((tmp_path / "record.hanging").exists, process)
    running = hanging_tool(bench)
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "the next call goes on from here" in said
    assert not alive(running)


def test_two_builds_of_one_model_at_once(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    first = bench.start(fault="trtllm-build:hang")
    until((tmp_path / "record.hanging").exists, first)
    second = bench.start()
    assert second.stderr is not None
    line = next(line for line in second.stderr if "is building in" in line)
    assert f"process {first.pid} is building in {tmp_path / 'work' / 'tiny'}: waiting for it" in line
    assert bench.calls() == Counter({"convert": 1, "trtllm-build": 1})
    first.kill()
    first.communicate()
    _, said = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0, said
    assert bench.calls() == Counter({"trtllm-build": 1, "tokenizer_info": 1})


def test_builds_of_two_models_do_not_wait_for_each_other(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    first = bench.start(fault="trtllm-build:hang")
    try:
        until((tmp_path / "record.hanging").exists, first)
        bench.built(f"{ID}:fp8")
    finally:
        first.kill()
        first.communicate()


def test_the_tools_are_where_the_tests_think() -> None:
    assert all(os.access(path, os.X_OK) for path in (TOOLS / "bin").iterdir())
