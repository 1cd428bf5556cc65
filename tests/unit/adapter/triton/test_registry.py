"""Discovery of models against a gRPC server that speaks the KServe protocol."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from adapter.errors import APIError
from adapter.triton import inventory
from adapter.triton import registry as registry_module
from adapter.triton.call import CallFailed
from adapter.triton.channel import TritonChannel
from adapter.triton.model import Kind
from adapter.triton.registry import ModelRegistry
from tests.support.standard_repository import write_standard_repository
from tests.unit.adapter.served import engine_config
from tests.unit.adapter.triton.discovered import CHAT, eventually, ids, local, looking_at, refusal, registry_of
from tests.unit.adapter.triton.kserve import KServe, serving

pytestmark = pytest.mark.usefixtures("always_look")


async def test_a_model_is_found(triton: KServe, tmp_path: Path) -> None:
    async with registry_of(triton, tmp_path) as registry:
        assert not registry.seen.is_set()
        (model,) = await registry.models()
        assert registry.seen.is_set() and registry.reachable
        assert (model.id, model.triton_name, model.kind) == (CHAT, "small_engine", Kind.CHAT)
        assert model.tokenizer.decode(model.tokenizer.encode("Hi")) == "Hi"
        assert await registry.get(CHAT) is model
        assert await registry.get(CHAT, Kind.CHAT) is model
        assert set(registry._models) == {CHAT}


@pytest.mark.parametrize(("key", "known"), [("tool_parser", "hermes"), ("reasoning_parser", "qwen3")])
async def test_a_parser_that_does_not_exist(
    key: str, known: str, triton: KServe, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says once which model, which key and what it could be; requests for it are told, and others go on."""
    triton.add(local(folder, "b_engine", "b/second", **{key: "hermez"}))
    triton.add(local(folder, "c_engine", "c/third", **{key: known}))
    async with registry_of(triton, tmp_path) as registry:
        for _ in range(2):
            assert await ids(registry) == ["c/third", CHAT]
        (told,) = [record.fields for record in caplog.records if record.message == "a model is not served"]  # type: ignore[attr-defined]
        for word in ("b_engine", key, "'hermez'", known):
            assert word in told["reason"]
        error = await refusal(registry.get("b/second"))
        assert error.status == 503 and "log" in error.message
        assert "b_engine" not in error.message and "hermez" not in error.message  # clients are told no configuration
        triton.add(local(folder, "b_engine", "b/second", **{key: known}))
        assert await ids(registry) == ["b/second", "c/third", CHAT]


async def test_a_standard_engine_is_served_once_its_folder_is_completed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the log asks for is a file: Triton's configuration stays as it was."""
    monkeypatch.setattr(inventory, "_RETRY_AFTER", 0.0)
    repository = write_standard_repository(tmp_path / "standard", [5])
    engine = model_config_pb2.ModelConfig()
    text_format.Parse((repository / "tensorrt_llm" / "config.pbtxt").read_text(), engine)
    shutil.copytree(folder, tmp_path / "tokenizers" / "tensorrt_llm")
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / "tokenizers" / "tensorrt_llm" / name).unlink(missing_ok=True)
    triton = KServe()
    triton.add(engine)
    async with registry_of(triton, tmp_path / "cache", tmp_path / "tokenizers") as registry:
        for _ in range(2):
            assert await ids(registry) == []
        (told,) = [record.fields for record in caplog.records if record.message == "a model is not served"]  # type: ignore[attr-defined]
        assert "context_length" in told["reason"]
        for asked, status in (("tensorrt_llm", 503), ("", 404)):
            error = await refusal(registry.get(asked))
            assert error.status == status and str(tmp_path) not in error.message
        said = {"context_length": 77, "end_ids": [1]}
        (tmp_path / "tokenizers" / "tensorrt_llm" / "tritongate.json").write_text(json.dumps(said))
        assert await ids(registry) == ["tensorrt_llm"]


async def test_models_are_in_the_order_of_their_ids(triton: KServe, folder: Path, tmp_path: Path) -> None:
    triton.add(local(folder, "a_engine", "z/last"))
    triton.add(local(folder, "b_engine", "a/first"))
    async with registry_of(triton, tmp_path) as registry:
        first, _, last = await registry.models()
        assert (first.id, last.id) == ("a/first", "z/last")
        assert first.tokenizer is last.tokenizer  # loaded once


async def test_another_kind_is_refused(triton: KServe, tmp_path: Path) -> None:
    async with registry_of(triton, tmp_path) as registry:
        error = await refusal(registry.get(CHAT, Kind.EMBEDDING))
    assert (error.status, error.param, error.code) == (400, "model", "model_not_supported")
    assert "chat" in error.message and "embedding" in error.message


async def test_an_endpoint_for_several_kinds(triton: KServe, tmp_path: Path) -> None:
    async with registry_of(triton, tmp_path) as registry:
        assert (await registry.get(CHAT, Kind.EMBEDDING, Kind.CHAT)).id == CHAT
        error = await refusal(registry.get(CHAT, Kind.RERANKER, Kind.EMBEDDING))
    assert error.code == "model_not_supported" and "`reranker` or `embedding`" in error.message


async def test_an_unknown_model(triton: KServe, tmp_path: Path) -> None:
    async with registry_of(triton, tmp_path) as registry:
        error = await refusal(registry.get("none/such"))
    assert (error.status, error.param, error.code) == (404, "model", "model_not_found")
    assert "`none/such`" in error.message


async def test_models_that_are_not_ready_or_not_served(triton: KServe, folder: Path, tmp_path: Path) -> None:
    triton.add(local(folder, "loading_engine", "maker/loading"))
    triton.states["loading_engine"] = "LOADING"
    triton.add(engine_config("plain", served_id=None))
    async with registry_of(triton, tmp_path) as registry:
        assert await ids(registry) == [CHAT]
        triton.states["loading_engine"] = "READY"
        assert await ids(registry) == ["maker/loading", CHAT]


async def test_models_appear_and_disappear(triton: KServe, folder: Path, tmp_path: Path) -> None:
    async with registry_of(triton, tmp_path) as registry:
        kept = await registry.get(CHAT)
        triton.add(local(folder, "new_engine", "maker/new"))
        assert (await registry.get("maker/new")).triton_name == "new_engine"  # at once, when it is asked for
        del triton.configs["new_engine"]
        assert await ids(registry) == [CHAT]
        assert (await refusal(registry.get("maker/new"))).status == 404
        assert await registry.get(CHAT) is kept
        del triton.configs["small_engine"]
        assert await ids(registry) == []


async def test_a_model_loaded_anew_with_another_configuration(triton: KServe, folder: Path, tmp_path: Path) -> None:
    async with registry_of(triton, tmp_path) as registry:
        before = await registry.get(CHAT)
        await registry.models()
        assert await registry.get(CHAT) is before
        triton.add(local(folder, context_length="32"))
        await registry.models()
        after = await registry.get(CHAT)
        assert (before.context_length, after.context_length) == (64, 32)
        triton.add(local(folder, served_id="maker/renamed"))
        assert await ids(registry) == ["maker/renamed"]


async def test_a_model_unloaded_between_two_questions(triton: KServe, folder: Path, tmp_path: Path) -> None:
    triton.add(local(folder, "going_engine", "maker/going"))
    triton.gone.add("going_engine")
    async with registry_of(triton, tmp_path) as registry:
        assert await ids(registry) == [CHAT]
        triton.gone.clear()
        assert await ids(registry) == ["maker/going", CHAT]


async def test_two_models_with_one_id(
    triton: KServe, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    triton.add(local(folder, "a_second_engine", CHAT, context_length="32"))
    async with registry_of(triton, tmp_path) as registry:
        with caplog.at_level(logging.ERROR, "tritongate.models"):
            (model,) = await registry.models()
            await registry.models()
        assert model.triton_name == "a_second_engine"  # the first by name, always
        (record,) = [record for record in caplog.records if "claim the same id" in record.message]
        assert record.fields["ignored"] == "small_engine"  # type: ignore[attr-defined]
        del triton.configs["a_second_engine"]
        assert [model.triton_name for model in await registry.models()] == ["small_engine"]


@pytest.mark.parametrize("broken", [{"context_length": "many"}, {"served_kind": None}, {"end_ids": "²"}])
async def test_a_broken_configuration_hurts_no_other(
    triton: KServe, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: dict[str, str | None]
) -> None:
    triton.add(local(folder, "broken_engine", "maker/broken", **broken))
    async with registry_of(triton, tmp_path) as registry:
        with caplog.at_level(logging.ERROR, "tritongate.models"):
            assert await ids(registry) == [CHAT]
            assert await ids(registry) == [CHAT]
        (record,) = caplog.records  # said once, not at every look
        assert "broken_engine" in record.fields["reason"]  # type: ignore[attr-defined]
        triton.add(local(folder, "broken_engine", "maker/broken"))
        assert await ids(registry) == ["maker/broken", CHAT]


async def test_triton_away_and_back(triton: KServe, tmp_path: Path) -> None:
    async with serving(triton) as port:
        pass
    async with looking_at(port, tmp_path) as registry:
        for asking in (registry.models(), registry.get(CHAT)):
            error = await refusal(asking)
            assert (error.status, error.code) == (503, "triton_unavailable")
            assert int(error.headers["retry-after"]) >= 1
            assert str(port) not in error.message
        assert not registry.seen.is_set() and not registry.reachable

        async def found() -> bool:
            return (await refusable(registry)) == [CHAT]

        async with serving(triton, port):
            await eventually(found)
            assert registry.seen.is_set() and registry.reachable
        assert (await refusal(registry.models())).status == 503
        assert not registry.reachable
        # A known model is still handed out: whether Triton is back, the request itself finds out.
        assert (await registry.get(CHAT)).id == CHAT
        async with serving(triton, port):
            await eventually(found)


async def refusable(registry: ModelRegistry) -> list[str] | None:
    try:
        return await ids(registry)
    except APIError:
        return None


async def test_looking_in_the_background(triton: KServe, folder: Path, tmp_path: Path) -> None:
    async with registry_of(triton, tmp_path) as registry:
        registry.start()
        await asyncio.wait_for(registry.seen.wait(), 10)
        triton.add(local(folder, "new_engine", "maker/new"))

        async def both() -> bool:
            return set(registry._models) == {CHAT, "maker/new"}  # without a question that would have it look

        await eventually(both)
        await registry.stop()
        looks = triton.asked.count("index")
        await asyncio.sleep(0.2)
        assert triton.asked.count("index") == looks


async def test_a_look_that_fails_is_not_the_last(
    triton: KServe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with registry_of(triton, tmp_path) as registry:
        look, failed = registry._look, []

        async def failing() -> None:
            if not failed:
                failed.append(True)
                raise RuntimeError("once")
            await look()

        monkeypatch.setattr(registry, "_look", failing)
        registry.start()
        await asyncio.wait_for(registry.seen.wait(), 10)
        assert failed
        await registry.stop()


async def test_many_questions_at_once_are_one_look(
    triton: KServe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_FRESH", 5.0)
    async with registry_of(triton, tmp_path) as registry:
        await asyncio.gather(*(registry.models() for _ in range(20)))
        assert triton.asked.count("index") == 1
        await asyncio.gather(*(refusal(registry.get(f"none/{number}")) for number in range(20)))
        assert triton.asked.count("index") == 1


async def test_the_channel_closes(triton: KServe) -> None:
    async with serving(triton) as port:
        channel = TritonChannel(f"grpc://127.0.0.1:{port}")
        await channel.subchannels[0].repository_index(5.0)
        await channel.close()
        with pytest.raises(CallFailed, match="closed"):
            await channel.subchannels[0].repository_index(5.0)
