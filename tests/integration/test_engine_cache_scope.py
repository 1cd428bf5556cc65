"""The llama.cpp engine in a real Triton: requests of different scopes share no computed prompt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tritonclient.utils import InferenceServerException

from launcher.triton_server import TritonServer
from tests.support.engine_client import EngineClient
from tests.support.engine_triton import engine_triton

pytestmark = pytest.mark.asyncio(loop_scope="module")  # gRPC's channels belong to the loop they began in

PROMPT = [3000 + position for position in range(200)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with engine_triton(tmp_path_factory.mktemp("engine"), slots=2, batch_size=64) as server:
        yield server


async def cached(engine: EngineClient, scope: str | None, prompt: list[int] = PROMPT) -> int:
    answer = await engine.generate(prompt, 3, cache_scope=scope)
    return int(answer.responses[0]["cached_tokens"][0, 0])


async def test_each_scope_has_its_own_cache(engine: EngineClient) -> None:
    whole = len(PROMPT) - 1
    assert await cached(engine, "one") == 0
    assert await cached(engine, "one") == whole
    assert await cached(engine, "two") == 0
    assert await cached(engine, "one") == whole  # the other has another slot
    assert await cached(engine, "two") == whole
    # A third takes over the slot that was used longest ago, and nothing of what is in it.
    assert await cached(engine, "three") == 0
    assert await cached(engine, "two") == whole
    assert await cached(engine, "one") == 0


async def test_without_a_scope_it_is_the_empty_one(engine: EngineClient) -> None:
    prompt = [7, *PROMPT]
    assert await cached(engine, None, prompt) == 0
    assert await cached(engine, "", prompt) == len(PROMPT)
    assert await cached(engine, None, prompt) == len(PROMPT)
    assert await cached(engine, "one", prompt) == 0


async def test_a_scope_does_not_change_the_answer(engine: EngineClient) -> None:
    seeded = {"temperature": 1.0, "seed": 3}
    answers = [(await engine.generate(PROMPT, 12, cache_scope=scope, **seeded)).ids for scope in ("one", "new", "one")]
    assert answers[0] == answers[1] == answers[2]


async def test_a_scope_is_short_text(engine: EngineClient) -> None:
    with pytest.raises(InferenceServerException, match="cache_scope: at most 1024 bytes"):
        await engine.generate(PROMPT, 3, cache_scope="x" * 1025)
    assert len((await engine.generate(PROMPT, 3, cache_scope="x" * 1024)).ids) == 3
