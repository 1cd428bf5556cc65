"""`kill -9` while a repository is assembled: no Triton that looks at it finds half a model; the next call ends it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from build.repository import MANIFEST
from tests.unit.build.pretend_build import ID, Bench, bench_of, end_suddenly
from tests.unit.build.pretend_embedding_build import EmbeddingBench, embedding_bench

MANIFEST_IN_PLACE = r"os.rename{} /\.tritongate\.json\.new "

Model = dict[str, bytes]  # its files' contents, by path


def models_of(repository: Path) -> dict[str, Model]:
    """What a Triton finds there."""
    folders = [path for path in repository.iterdir() if path.is_dir()] if repository.is_dir() else []
    return {
        folder.name: {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if (path.is_file() or path.is_symlink()) and "__pycache__" not in path.parts
        }
        for folder in folders
    }


def config_of(model: Model) -> Any:
    return text_format.Parse(model["config.pbtxt"].decode(), model_config_pb2.ModelConfig())


def assert_whole(repository: Path, *allowed: dict[str, Model]) -> None:
    """Every model is one of the allowed ones, and all that it consists of is there."""
    found = models_of(repository)
    for name, model in found.items():
        assert model in [models[name] for models in allowed], f"{name} is half a model"
        for step in config_of(model).ensemble_scheduling.step:
            assert step.model_name in found, f"{name} is there without {step.model_name}"


def assert_ended(bench: Bench, wanted: dict[str, Model], *arguments: str) -> None:
    bench.calls()
    bench.built(*arguments)
    assert not bench.calls(), "only the repository was left to do"
    assert models_of(bench.repository) == wanted
    assert json.loads((bench.repository / MANIFEST).read_text())["models"] == sorted(wanted)
    assert not (bench.repository.parent / f".{bench.repository.name}.new").exists()


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, dict[str, Model]]:
    """A bench with an engine that is built, and its repository."""
    bench = bench_of(tmp_path_factory.mktemp("chat"))
    bench.built()
    return bench, models_of(bench.repository)


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> tuple[EmbeddingBench, dict[str, Model]]:
    bench = embedding_bench(tmp_path_factory.mktemp("embedding"))
    bench.built()
    return bench, models_of(bench.repository)


@pytest.mark.parametrize(
    "moment",
    [
        r"os.link \.repository\.new/new/tiny_engine/engine/",  # while the folders are written
        MANIFEST_IN_PLACE.format(""),
        r"os.rename /new/tiny_engine ",
        r"os.rename /new/tiny ",  # the last of them
        MANIFEST_IN_PLACE.format("#2"),
    ],
)
def test_killed_while_a_chat_model_is_put_into_a_repository(chat: tuple[Bench, dict[str, Model]], moment: str) -> None:
    bench, wanted = chat
    shutil.rmtree(bench.repository)
    end_suddenly(bench, moment)
    assert_whole(bench.repository, wanted)
    assert_ended(bench, wanted)


@pytest.mark.parametrize(
    "moment",
    [
        r"os.link /sentence-t5_encoder/1/model\.plan",
        r"os.rename /new/sentence-t5_encoder ",
        "os.rename /new/sentence-t5 ",
    ],
)
def test_killed_while_an_embedding_model_is_put_into_a_repository(
    embedding: tuple[EmbeddingBench, dict[str, Model]], moment: str
) -> None:
    bench, wanted = embedding
    shutil.rmtree(bench.repository)
    end_suddenly(bench, moment)
    assert_whole(bench.repository, wanted)
    assert_ended(bench, wanted)


@pytest.fixture
def rebuilt(tmp_path: Path) -> Iterator[tuple[Bench, dict[str, Model]]]:
    """A repository whose engine is to be replaced."""
    bench = bench_of(tmp_path)
    bench.built()
    yield bench, models_of(bench.repository)


def test_killed_while_models_are_replaced(rebuilt: tuple[Bench, dict[str, Model]]) -> None:
    bench, before = rebuilt
    other = (ID, "--max-batch-size", "4", "--max-seq-len", "128")
    end_suddenly(bench, r"os.rename#2 /work/tiny/manifest\.json\.new ", *other)
    assert json.loads((bench.folder / "work/tiny/engine/config.json").read_text())["build_config"]["max_seq_len"] == 128
    assert models_of(bench.repository) == before, "a new engine is there, and the old one is served with its own limits"
    for number in ("#1", "#2"):
        end_suddenly(bench, f"ctypes.dlsym{number} renameat2", *other)
        assert models_of(bench.repository).keys() == before.keys(), "never missing in between"
    between = models_of(bench.repository)
    bench.built(*other)
    after = models_of(bench.repository)
    assert all(model in (before[name], after[name]) for name, model in between.items()) and between != before != after
    assert_ended(bench, after, *other)
    assert config_of(after["tiny_engine"]).max_batch_size == 4


def test_a_plan_that_fails_its_check_is_not_served(tmp_path: Path) -> None:
    bench = embedding_bench(tmp_path)
    bench.built()
    before = models_of(bench.repository)
    answer = bench.run("--max-batch-size", "8", fault="trtexec-run:wrong")
    assert answer.returncode == 1 and models_of(bench.repository) == before
