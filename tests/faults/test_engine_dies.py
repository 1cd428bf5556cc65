"""The llama.cpp engine in a real Triton, one of its threads ended by what is no `Exception`: nobody waits in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tritonclient.utils import InferenceServerException

from launcher.triton_server import TritonServer
from tests.support.engine_client import EngineClient
from tests.support.engine_triton import ENGINE, engine_triton, grpc_address

RESTART = 60.0  # seconds
PATIENCE = 20.0  # seconds
PROMPT = list(range(1000, 1010))
FATAL = {"llama-engine": 13, "delivery": 14, "cancellation": 15}  # first token of the prompt that ends the thread

# Appended to the sources that Triton loads.
INJECTED = {
    "slots.py": f"""
class Slot(Slot):
    def common_prefix(self, prompt, scope):
        if prompt[0] == {FATAL["llama-engine"]}:
            raise SystemExit("injected")
        return super().common_prefix(prompt, scope)
""",
    "delivery.py": f"""
_response_tensors = response_tensors
def response_tensors(generation, tokens, reason):
    if generation.request.prompt[0] == {FATAL["delivery"]}:
        raise SystemExit("injected")
    return _response_tensors(generation, tokens, reason)
""",
    "cancellation.py": f"""
class CancellationWatch(CancellationWatch):
    def add(self, generation):
        if generation.request.prompt[0] == {FATAL["cancellation"]}:
            def fail():
                raise SystemExit("injected")
            generation.reply.cancelled = fail
        super().add(generation)
""",
}


def inject(folder: Path) -> None:
    for name, code in INJECTED.items():
        path = folder / name
        source = path.read_text(encoding="utf-8")
        path.unlink()
        path.write_text(source + code, encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with engine_triton(tmp_path_factory.mktemp("engine"), inject, slots=2) as server:
        yield server


@pytest.mark.parametrize("thread", FATAL)
async def test_everyone_who_waits_gets_an_error_and_the_model_comes_back(server: TritonServer, thread: str) -> None:
    starts = server.starts
    async with EngineClient(grpc_address(server), ENGINE) as engine:
        others = [asyncio.create_task(engine.generate(PROMPT, 4000, ignore_eos=True)) for _ in range(2)]
        await asyncio.sleep(0.5)
        assert not any(other.done() for other in others)
        fatal = asyncio.create_task(engine.generate([FATAL[thread], *PROMPT], 4000, ignore_eos=True))
        if thread != "cancellation":  # the others look at a request when it has a slot
            await asyncio.sleep(0.3)
            others.append(asyncio.create_task(engine.generate(PROMPT, 4000, ignore_eos=True)))
            await asyncio.sleep(0.3)
            assert not any(task.done() for task in (*others, fatal))
            others.pop(0).cancel()
        done, waiting = await asyncio.wait([*others, fatal], timeout=PATIENCE)
        assert not waiting
    said = {str(task.exception()) for task in done}
    assert all(isinstance(task.exception(), InferenceServerException) for task in done)
    assert all(f"the engine has died: the thread {thread} ended with SystemExit('injected')" in text for text in said)
    await asyncio.to_thread(server.wait_restarted, starts, RESTART)
    async with EngineClient(grpc_address(server), ENGINE) as engine:
        assert len((await engine.generate(PROMPT, 3)).ids) == 3
