"""A registry of models before a server that speaks the KServe protocol, and what is asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapter.errors import APIError
from adapter.triton.channel import TritonChannel
from adapter.triton.registry import ModelRegistry
from adapter.triton.tokenizers import TokenizerSource
from tests.unit.adapter.served import engine_config
from tests.unit.adapter.triton.kserve import KServe, serving
from tokentext import tokenizer_digest

CHAT = "maker/small:1b"


def local(folder: Path, name: str = "small_engine", served_id: str = CHAT, **parameters: str | None) -> Any:
    digest = tokenizer_digest(folder)
    return engine_config(name, served_id, **{"tokenizer_dir": str(folder), "tokenizer_sha256": digest, **parameters})  # type: ignore[arg-type]


def remote(folder: Path, **parameters: str | None) -> Any:
    """A model whose tokenizer has to come from Triton."""
    return local(folder, **{"tokenizer_dir": "/nowhere", "tokenizer_model": "small_preprocessing", **parameters})


@asynccontextmanager
async def looking_at(port: int, cache: Path, folder: Path | None = None) -> AsyncIterator[ModelRegistry]:
    channel = TritonChannel(f"grpc://127.0.0.1:{port}")
    try:
        yield ModelRegistry(channel, TokenizerSource(channel, folder, cache), interval=0.05)
    finally:
        await channel.close()


@asynccontextmanager
async def registry_of(service: KServe, cache: Path, folder: Path | None = None) -> AsyncIterator[ModelRegistry]:
    async with serving(service) as port, looking_at(port, cache, folder) as registry:
        yield registry


async def ids(registry: ModelRegistry) -> list[str]:
    return [model.id for model in await registry.models()]


async def refusal(asking: Awaitable[Any]) -> APIError:
    with pytest.raises(APIError) as caught:
        await asking
    return caught.value


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(200):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("did not happen")
