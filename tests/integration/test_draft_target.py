"""A model that checks what a smaller one writes, built from one entry, in a real Triton; the two engines stood in."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from tritonclient.utils import InferenceServerException

from launcher.state import StateLock
from launcher.triton_server import TritonServer
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import user
from tests.support.engine_client import EngineClient, word_list
from tests.support.engine_triton import grpc_address
from tests.support.stand_in_imports import STAND_IN
from tests.unit.build.drafted_build import drafted_bench

MODEL = Path(__file__).parents[1] / "support" / "drafted_engine" / "model.py"
PROMPT = [20, 21, 22]
POISON = 299
SOON = 1.0  # seconds; a stop takes some 30 ms, and this machine may be busy

pytestmark = pytest.mark.asyncio(loop_scope="module")  # gRPC's channels belong to the loop they began in


@dataclass(frozen=True)
class Running:
    """A Triton with the model, and what its two engines have written down."""

    server: TritonServer
    repository: Path

    def events(self, engine: str, kind: str) -> list[dict[str, Any]]:
        log = self.repository / f"tiny_{engine}" / "1" / "events.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("drafted")
    bench = drafted_bench(
        folder,
        "max_batch_size = 8",
        settings="[models.settings]\nmax_queue_size = 4\n",
    )
    bench.built()
    for engine in ("target", "draft"):
        place = bench.repository / f"tiny_{engine}"
        config = (place / "config.pbtxt").read_text()
        (place / "config.pbtxt").write_text(config.replace('backend: "tensorrtllm"', 'backend: "python"'))
        shutil.copyfile(MODEL, place / "1" / "model.py")
    state = folder / "state"
    with StateLock(state), TritonServer([bench.repository], state) as server:
        yield Running(server, bench.repository)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(running: Running) -> AsyncIterator[EngineClient]:
    async with EngineClient(grpc_address(running.server), "tiny_engine") as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(running: Running) -> AsyncIterator[EngineClient]:
    async with EngineClient(grpc_address(running.server), "tiny_target") as client:
        yield client


def begun(running: Running, engine: str, since: int = 0) -> list[dict[str, Any]]:
    return running.events(engine, "begin")[since:]


async def idle(running: Running) -> None:
    """Returns once every request that an engine has begun has ended."""
    deadline = time.monotonic() + 10
    for engine in ("target", "draft"):
        while len(running.events(engine, "begin")) > len(running.events(engine, "end")):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("length", [1, 2, 5, 6, 7, 60])
async def test_the_answer_is_the_target_s(
    engine: EngineClient, target: EngineClient, running: Running, length: int, streaming: bool
) -> None:
    alone = await target.generate(PROMPT, length, streaming=streaming)
    before = len(begun(running, "target"))
    found = await engine.generate(PROMPT, length, streaming=streaming)
    assert found.ids == alone.ids and len(found.ids) == length
    rounds = begun(running, "target", before)
    assert all(each["draft"] <= 5 for each in rounds)
    if length == 60:
        assert len(rounds) < 30, "half of the tokens or more come from drafts"
        assert len(found.responses) == (len(rounds) if streaming else 1)
    for response in found.responses:
        assert response["sequence_length"].tolist() == [[response["output_ids"].shape[-1]]]


async def test_ends_on_the_borders_of_rounds(engine: EngineClient, target: EngineClient) -> None:
    alone = (await target.generate(PROMPT, 40)).ids
    for place in range(14):
        ended = await engine.generate(PROMPT, 40, end_id=alone[place])
        assert ended.ids == alone[: alone.index(alone[place]) + 1]
    for place in range(12):
        # Words of two tokens: the border of a round may lie within one.
        word = alone[place : place + 2]
        stopped = await engine.generate(PROMPT, 40, stop_words_list=word_list([250, 251], word))
        assert stopped.ids == (await target.generate(PROMPT, 40, stop_words_list=word_list([250, 251], word))).ids
        assert stopped.ids[-2:] == word
    # The word may begin in the prompt, as in TensorRT-LLM.
    word = [PROMPT[-1], alone[0]]
    assert (await engine.generate(PROMPT, 40, stop_words_list=word_list(word))).ids == alone[:1]


async def test_requests_are_answered_at_the_same_time(
    engine: EngineClient, target: EngineClient, running: Running
) -> None:
    prompts = [[30 + number, 31, 32] for number in range(8)]
    alone = await asyncio.gather(*(target.generate(prompt, 40) for prompt in prompts))
    await idle(running)
    before = len(running.events("target", "begin"))
    found = await asyncio.gather(*(engine.generate(prompt, 40) for prompt in prompts))
    assert [answer.ids for answer in found] == [answer.ids for answer in alone]
    await idle(running)
    began = running.events("target", "begin")[before:]
    ended = {event["id"]: event["time"] for event in running.events("target", "end")}
    most = max(sum(other["time"] <= each["time"] < ended[other["id"]] for other in began) for each in began)
    assert most >= 2, "never were two of them with the target at once"


@pytest.mark.parametrize(
    "inputs",
    [
        {"return_log_probs": True},
        {"presence_penalty": 0.5},
        {"repetition_penalty": 1.1},
        {"min_tokens": 3},
        {"lora_task_id": 1},
        {"beam_width": 2},
        {"guided_decoding_guide_type": ["json"]},
        {"exclude_input_in_output": False},
    ],
)
async def test_what_rounds_cannot_keep_goes_to_the_target_as_it_is(
    engine: EngineClient, running: Running, inputs: dict[str, Any]
) -> None:
    before = [len(begun(running, name)) for name in ("target", "draft")]
    found = await engine.generate(PROMPT, 10, **inputs)
    (request,) = begun(running, "target", before[0])
    assert not begun(running, "draft", before[1])
    assert (request["length"], request["draft"]) == (10, 0) and inputs.keys() <= set(request["inputs"])
    # In one piece: where Triton streams several of such requests to one process, they block each other.
    assert len(found.ids) == 10 and len([each for each in found.responses if each["output_ids"].size]) == 1
    assert "streaming" not in request["inputs"]
    if "return_log_probs" in inputs:
        assert len(found.log_probs) == 10


async def test_inputs_that_change_nothing_do_not_stand_in_the_way(engine: EngineClient, running: Running) -> None:
    before = len(begun(running, "draft"))
    neutral = {"presence_penalty": 0.0, "repetition_penalty": 1.0, "beam_width": 1, "return_log_probs": False}
    await engine.generate(PROMPT, 10, **neutral)
    assert begun(running, "draft", before)


async def test_each_round_draws_with_another_seed(engine: EngineClient, running: Running) -> None:
    async def drawn(**inputs: Any) -> tuple[list[int], list[int]]:
        before = len(begun(running, "target"))
        answer = await engine.generate(PROMPT, 30, temperature=1.0, **inputs)
        return answer.ids, [each["seed"] for each in begun(running, "target", before)]

    ids, seeds = await drawn(seed=7)
    assert seeds[0] == 7 and len(set(seeds)) == len(seeds) > 2
    assert await drawn(seed=7) == (ids, seeds)
    assert (await drawn(seed=8))[0] != ids
    _, unseeded = await drawn()
    assert len(set(unseeded)) == len(unseeded), "without a seed every round would draw alike"


async def test_counts_and_measures(engine: EngineClient, running: Running) -> None:
    before = len(begun(running, "target"))
    flags = ("return_num_input_tokens", "return_num_output_tokens", "return_perf_metrics")
    found = await engine.generate(PROMPT, 40, **dict.fromkeys(flags, True))
    rounds = begun(running, "target", before)
    assert sum(int(response["num_output_tokens"].item()) for response in found.responses) == 40
    assert {int(response["num_input_tokens"].item()) for response in found.responses} == {3}
    last = found.responses[-1]
    drafted, accepted = (int(last[f"total_{kind}_tokens"].item()) for kind in ("draft", "accepted_draft"))
    assert drafted == sum(each["draft"] for each in rounds)
    assert accepted == 40 - len(rounds), "each round adds one token of the target's own"
    assert last["acceptance_rate"].item() == pytest.approx(accepted / drafted)
    assert last["arrival_time_ns"].item() < last["last_token_time_ns"].item()
    assert "acceptance_rate" not in found.responses[0]
    plain = await engine.generate(PROMPT, 4)
    assert plain.responses[0].keys() == {"output_ids", "sequence_length"}


async def test_up_to_the_end_of_the_context(engine: EngineClient, target: EngineClient) -> None:
    prompt = [40 + number % 50 for number in range(250)]
    alone, found = await target.generate(prompt, 60), await engine.generate(prompt, 60)
    assert found.ids == alone.ids and len(found.ids) == 6  # of 256


async def first(call: Any) -> Any:
    result, error = await anext(aiter(call))
    if error is not None:
        raise error
    return result


@pytest.mark.parametrize("inputs", [{}, {"return_log_probs": True}])
async def test_a_client_that_goes_frees_both_engines(
    engine: EngineClient, running: Running, inputs: dict[str, Any]
) -> None:
    before = len(begun(running, "target"))
    call = engine.stream(engine.request(PROMPT, 250, streaming=True, **inputs))
    waiting = asyncio.ensure_future(first(call))
    while not begun(running, "target", before):
        await asyncio.sleep(0.01)
    call.cancel()
    await asyncio.wait([waiting])
    gone = time.time()
    await idle(running)
    began = [event for name in ("target", "draft") for event in running.events(name, "begin")]
    assert max(event["time"] for event in began) < gone + SOON
    (last,) = running.events("target", "end")[-1:]
    if inputs:
        assert last["reason"] == "stopped" and last["steps"] < 250
    after = len(begun(running, "target"))
    await asyncio.sleep(0.2)
    assert len(begun(running, "target")) == after, "no further round has begun"


async def test_stop_by_the_id_of_the_request(engine: EngineClient, running: Running) -> None:
    before = len(begun(running, "target"))
    asked = asyncio.ensure_future(engine.generate(PROMPT, 250, return_log_probs=True, request_id="mine"))
    while not begun(running, "target", before):
        await asyncio.sleep(0.01)
    await engine.generate([1], 1, stop=True, request_id="mine")
    await asked
    assert running.events("target", "end")[-1]["reason"] == "stopped"
    with pytest.raises(InferenceServerException, match="stop: a request id is needed"):
        await engine.generate([1], 1, stop=True)


@pytest.mark.parametrize("inputs", [{}, {"return_log_probs": True}])
async def test_errors_of_the_target_have_its_own_words(engine: EngineClient, inputs: dict[str, Any]) -> None:
    with pytest.raises(InferenceServerException, match="tiny_target: the prompt is poisoned"):
        await engine.generate([POISON, 1], 10, **inputs)


@pytest.mark.parametrize("streaming", [True, False])
async def test_an_answer_goes_on_without_its_draft_model(
    engine: EngineClient, target: EngineClient, running: Running, streaming: bool
) -> None:
    alone = await target.generate(PROMPT, 200)
    before = [len(begun(running, name)) for name in ("target", "draft")]
    asked = asyncio.ensure_future(engine.generate(PROMPT, 200, streaming=streaming))
    while len(begun(running, "draft", before[1])) < 3:
        await asyncio.sleep(0.01)
    await engine.client.unload_model("tiny_draft")
    try:
        assert (await asked).ids == alone.ids
        rounds = begun(running, "target", before[0])
        assert rounds[0]["draft"] and not rounds[-1]["draft"], "it has gone in the midst of the answer"
        assert (await engine.generate(PROMPT, 20)).ids == alone.ids[:20]
    finally:
        await engine.client.load_model("tiny_draft")
    before[1] = len(begun(running, "draft"))
    assert (await engine.generate(PROMPT, 20)).ids == alone.ids[:20] and begun(running, "draft", before[1])


async def test_an_error_of_the_target_in_the_midst_of_rounds(engine: EngineClient) -> None:
    with pytest.raises(InferenceServerException, match=r"Prompt length \(300\) exceeds"):
        await engine.generate([20] * 300, 10)
    with pytest.raises(InferenceServerException, match="tiny_target: the prompt is poisoned"):
        await engine.generate([POISON], 1)  # one token needs no draft
    with pytest.raises(InferenceServerException, match="num_return_sequences: one answer at a time"):
        await engine.generate(PROMPT, 10, num_return_sequences=2)
    with pytest.raises(InferenceServerException, match="output_ids and sequence_length must be among"):
        await engine.generate(PROMPT, 10, outputs=["output_ids"], return_log_probs=True)


async def test_a_full_queue(engine: EngineClient, running: Running) -> None:
    calls = [engine.stream(engine.request(PROMPT, 200, streaming=True)) for _ in range(14)]

    async def outcome(call: Any) -> str:
        async for _, error in call:
            if error is not None:
                return str(error)
        return ""

    outcomes = await asyncio.gather(*map(outcome, calls))
    refused = [text for text in outcomes if text]
    assert 1 <= len(refused) <= 2 and all("the queue is full: 12 requests are open" in text for text in refused)
    assert (await engine.generate(PROMPT, 3)).ids


async def test_text_in_text_out(running: Running) -> None:
    async with httpx.AsyncClient(base_url=running.server.http_url, timeout=30) as client:
        answer = await client.post(
            "/v2/models/tiny/generate_stream", json={"text_input": "t20", "max_tokens": 12, "stream": True}
        )
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    text = "".join(event["text_output"] for event in events)
    assert text.count("t") == 12 and 1 < len(events) < 12, "a response per round"


async def test_the_llm_api_writes_and_checks_drafts_itself(tmp_path: Path) -> None:
    bench = drafted_bench(tmp_path, 'engine = "tensorrt_llm_api"')
    bench.built()
    folder, log = bench.repository / "tiny_engine", tmp_path / "stand_in.log"
    (folder / "engine" / "stand_in.json").write_text(json.dumps({"log": str(log)}))
    shutil.copytree(STAND_IN, folder / "1", dirs_exist_ok=True)
    state = tmp_path / "state"
    with StateLock(state), TritonServer([bench.repository], state) as server:
        async with EngineClient(grpc_address(server), "tiny_engine") as client:
            assert (await client.generate(PROMPT, 4, end_id=1)).ids
    (load,) = [event for event in map(json.loads, log.read_text().splitlines()) if event["event"] == "load"]
    assert load["speculative_config"] == {"max_draft_len": 5, "speculative_model": str(folder / "draft")}
    assert load["disable_overlap_scheduler"] is True
    assert (folder / "draft" / "model.safetensors").is_file()


async def test_behind_the_adapter_it_is_one_model(running: Running, tmp_path: Path) -> None:
    before = len(begun(running, "draft"))
    with AdapterProcess(running.server.grpc_url, tmp_path / "adapter.log") as adapter:
        async with openai.AsyncOpenAI(base_url=adapter.base_url, api_key="any", max_retries=0, timeout=60.0) as client:
            assert [model.id async for model in client.models.list()] == ["me/tiny"]
            answer = await client.chat.completions.create(
                model="me/tiny", messages=user("t20"), max_tokens=12, temperature=0
            )
    assert answer.usage is not None and answer.usage.completion_tokens == 12
    assert begun(running, "draft", before), "what the adapter always sends does not stand in the way"
