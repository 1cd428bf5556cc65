"""Discovery over several Tritons: what each has, who is asked for what, and which of two configurations counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapter.errors import APIError
from adapter.triton import registry as registry_module
from adapter.triton.channel import TritonChannel
from adapter.triton.registry import ModelRegistry
from adapter.triton.tokenizers import TokenizerSource
from tests.unit.adapter.served import engine_config, tokenizer_folder
from tests.unit.adapter.triton.kserve import KServe, serving
from tokentext import tokenizer_digest

CHAT, OTHER = "maker/small:1b", "maker/other:1b"


@pytest.fixture(autouse=True)
def always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "_FRESH", -1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_folder(tmp_path_factory.mktemp("served") / "small")


def config(folder: Path, name: str = "small_engine", served_id: str = CHAT, **parameters: str) -> Any:
    digest = tokenizer_digest(folder)
    return engine_config(name, served_id, **{"tokenizer_dir": str(folder), "tokenizer_sha256": digest, **parameters})


def triton_with(*configs: Any) -> KServe:
    service = KServe()
    for one in configs:
        service.add(one)
    return service


class Watched:
    """A registry over Tritons on ports of their own; each can be stopped and started again."""

    def __init__(self, services: list[KServe], ports: list[int], cache: Path) -> None:
        self.services, self.ports = services, ports
        self.channel = TritonChannel(",".join(f"grpc://127.0.0.1:{port}" for port in ports))
        self.registry = ModelRegistry(self.channel, TokenizerSource(self.channel, None, cache), interval=0.05)
        self.running: dict[int, AsyncExitStack] = {}

    async def up(self, index: int) -> None:
        self.running[index] = AsyncExitStack()
        await self.running[index].enter_async_context(serving(self.services[index], self.ports[index]))

    async def down(self, index: int) -> None:
        await self.running.pop(index).aclose()

    async def ids(self) -> list[str]:
        return [model.id for model in await self.registry.models()]

    def used_for(self, model: str) -> list[int]:
        serving = self.channel.serving(model)
        return [index for index, one in enumerate(self.channel.subchannels) if one in serving]


@asynccontextmanager
async def watching(cache: Path, *services: KServe) -> AsyncIterator[Watched]:
    ports: list[int] = []
    for service in services:
        async with serving(service) as port:
            ports.append(port)
    watched = Watched(list(services), ports, cache)
    for index in range(len(services)):
        await watched.up(index)
    try:
        yield watched
    finally:
        await watched.registry.stop()
        await watched.channel.close()
        for index in list(watched.running):
            await watched.down(index)


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to that")


async def test_each_model_goes_where_it_is(folder: Path, tmp_path: Path) -> None:
    both, one = config(folder), config(folder, "other_engine", OTHER)
    async with watching(tmp_path, triton_with(both, one), triton_with(both)) as watched:
        assert await watched.ids() == [OTHER, CHAT]
        assert watched.used_for("small_engine") == [0, 1]
        assert watched.used_for("other_engine") == [0]
        del watched.services[0].configs["small_engine"]
        watched.services[1].states["small_engine"] = "UNAVAILABLE"
        assert await watched.ids() == [OTHER]


async def test_one_goes_and_comes_back(folder: Path, tmp_path: Path) -> None:
    both, one = config(folder), config(folder, "other_engine", OTHER)
    async with watching(tmp_path, triton_with(both, one), triton_with(both)) as watched:
        watched.registry.start()
        await asyncio.wait_for(watched.registry.seen.wait(), 10)
        await watched.down(0)
        await eventually(lambda: not watched.channel.subchannels[0].ready)
        # What only that one had is known, but not there.
        assert await watched.ids() == [CHAT]
        assert (await watched.registry.get(OTHER)).id == OTHER
        assert watched.used_for("small_engine") == [1] and watched.registry.reachable
        await watched.up(0)
        await eventually(lambda: watched.used_for("small_engine") == [0, 1])
        assert await watched.ids() == [OTHER, CHAT]
        await watched.down(0)
        await watched.down(1)
        await eventually(lambda: not watched.registry.reachable)
        with pytest.raises(APIError) as refused:
            await watched.registry.models()
        assert refused.value.status == 503


async def test_one_that_hangs_holds_up_nobody(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapter.triton.inventory.CALL_TIMEOUT", 0.3)
    hanging = triton_with(config(folder))
    async with watching(tmp_path, hanging, triton_with(config(folder))) as watched:
        watched.registry.start()
        await asyncio.wait_for(watched.registry.seen.wait(), 10)

        async def hang(request: Any, context: Any) -> Any:
            await asyncio.sleep(30)

        hanging.RepositoryIndex = hang  # type: ignore[method-assign]
        await watched.down(0)
        await watched.up(0)
        await eventually(lambda: watched.used_for("small_engine") == [1])
        started = asyncio.get_running_loop().time()
        assert await watched.ids() == [CHAT]
        assert asyncio.get_running_loop().time() - started < 0.2


async def test_another_configuration_gets_no_requests(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An update that reaches one Triton after the other: the old version is used up to the last, then the new one."""
    old, new = config(folder), config(folder, context_length="99")
    async with watching(tmp_path, triton_with(old), triton_with(old)) as watched:
        (model,) = await watched.registry.models()
        assert watched.used_for("small_engine") == [0, 1]
        watched.services[0].add(new)
        with caplog.at_level(logging.ERROR, "tritongate.models"):
            assert await watched.registry.models() == [model]
            assert await watched.registry.models() == [model]
        assert watched.used_for("small_engine") == [1]
        (record,) = caplog.records  # said once
        assert record.fields["model"] == CHAT and str(watched.ports[0]) in record.fields["triton"]  # type: ignore[attr-defined]
        watched.services[1].add(new)
        (model,) = await watched.registry.models()
        assert model.context_length == 99
        assert watched.used_for("small_engine") == [0, 1]


async def test_one_whose_configuration_cannot_be_understood_gets_no_requests(folder: Path, tmp_path: Path) -> None:
    """It may be another version of the model as well as any other configuration may be."""
    async with watching(tmp_path, triton_with(config(folder)), triton_with(config(folder))) as watched:
        assert await watched.ids() == [CHAT]
        watched.services[1].add(config(folder, tool_parser="hermez"))
        assert await watched.ids() == [CHAT]
        assert watched.used_for("small_engine") == [0]
        assert (await watched.registry.get(CHAT)).id == CHAT
        watched.services[1].add(config(folder))
        assert await watched.ids() == [CHAT]
        assert watched.used_for("small_engine") == [0, 1]


async def test_the_place_of_a_tokenizer_is_no_difference(folder: Path, tmp_path: Path) -> None:
    async with watching(
        tmp_path, triton_with(config(folder)), triton_with(config(folder, tokenizer_dir="/elsewhere"))
    ) as watched:
        assert await watched.ids() == [CHAT]
        assert watched.used_for("small_engine") == [0, 1]


async def test_a_tokenizer_from_whichever_hands_it_out(folder: Path, tmp_path: Path) -> None:
    far = config(folder, tokenizer_dir="/nowhere", tokenizer_model="small_preprocessing")
    silent, generous = triton_with(far), triton_with(far)
    silent.hand_out("small_preprocessing", folder)
    silent.empty.add("small_preprocessing")
    generous.hand_out("small_preprocessing", folder)
    async with watching(tmp_path / "cache", silent, generous) as watched:
        (model,) = await watched.registry.models()
        assert model.tokenizer.folder == tmp_path / "cache" / tokenizer_digest(folder)
