"""The llama.cpp engine in a real Triton, with images and audio in the prompt."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image
from tritonclient.utils import InferenceServerException

from launcher.state import StateLock
from launcher.triton_server import TritonServer
from tests.support.engine_client import Answer, EngineClient
from tests.support.engine_triton import engine_triton, grpc_address
from tests.support.own_models import MEDIA, MEDIA_CONTEXT, media_repository, triton_name

pytestmark = pytest.mark.asyncio(loop_scope="module")  # gRPC's channels belong to the loop they began in

IMAGE_TOKENS = 30  # 16 of the picture, the rest the marks around it
BEFORE, AFTER = [3000 + place for place in range(70)], [198, 4093, 198]
SHOWN = {"return_log_probs": True}


def png(color: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 24), color).save(file, "PNG")
    return file.getvalue()


def wav(frequency: float, seconds: float = 0.5) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16000)
        samples = np.sin(np.arange(int(16000 * seconds)) * frequency) * 9000
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("media")
    repository = media_repository(folder, {"slots": 2, "batch_size": 32})
    state = folder / "state"
    with StateLock(state), TritonServer([repository], state) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(server: TritonServer) -> AsyncIterator[EngineClient]:
    async with EngineClient(grpc_address(server), f"{triton_name(MEDIA)}_engine") as client:
        yield client


async def ask(engine: EngineClient, *media: bytes, length: int = 4, **tensors: Any) -> Answer:
    """A prompt in which the media follow one another."""
    prompt = [*BEFORE, *[-1] * len(media), *AFTER]
    return await engine.generate(prompt, length, **({"media": list(media)} if media else {}), **SHOWN, **tensors)


def first(answer: Answer, name: str) -> int:
    return int(answer.responses[0][name][0, 0])


@pytest.mark.parametrize("make, one, other", [(png, "red", "blue"), (wav, 0.05, 0.3)])
async def test_a_medium_reaches_the_answer(engine: EngineClient, make: Any, one: Any, other: Any) -> None:
    same, again, different = [await ask(engine, make(value)) for value in (one, one, other)]
    assert same.ids == again.ids
    assert same.log_probs == again.log_probs
    assert not np.allclose(same.log_probs, different.log_probs, atol=1e-3)


async def test_tokens_of_media_are_counted(engine: EngineClient) -> None:
    text = len(BEFORE) + len(AFTER)
    for media, taken in (((), 0), ((png("red"),), IMAGE_TOKENS), ((png("red"), png("blue")), 2 * IMAGE_TOKENS)):
        answer = await ask(engine, *media, return_num_input_tokens=True)
        assert first(answer, "prompt_tokens") == first(answer, "num_input_tokens") == text + taken
        assert all("prompt_tokens" not in response for response in answer.responses[1:])
    heard = first(await ask(engine, wav(0.1)), "prompt_tokens") - text
    assert heard > 0
    both = first(await ask(engine, wav(0.1), png("red")), "prompt_tokens") - text
    assert both == heard + IMAGE_TOKENS


async def test_order_and_place_matter(engine: EngineClient) -> None:
    red, blue = png("red"), png("blue")
    orders = [(await ask(engine, *media)).log_probs for media in ((red, blue), (blue, red))]
    assert not np.allclose(*orders, atol=1e-3)
    places = []
    for prompt in ([-1, *BEFORE, *AFTER], [*BEFORE, *AFTER, -1]):
        places.append((await engine.generate(prompt, 4, media=[red], **SHOWN)).log_probs)
    assert not np.allclose(*places, atol=1e-3)


async def test_media_leave_nothing_behind(engine: EngineClient) -> None:
    before = (await ask(engine, length=12)).ids
    for color in ("red", "blue", "green"):
        seen = await ask(engine, png(color))
        assert first(seen, "cached_tokens") == 0
    after = await ask(engine, length=12)
    assert after.ids == before
    assert first(await ask(engine, png("red")), "cached_tokens") == 0


async def test_text_alone_is_answered_as_by_the_plain_model(
    engine: EngineClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with engine_triton(tmp_path_factory.mktemp("plain"), slots=2, batch_size=32) as plain:
        async with EngineClient(grpc_address(plain), "smollm2-135m-instruct_engine") as client:
            expected = await ask(client, length=12)
            assert "prompt_tokens" not in expected.responses[0]
            with pytest.raises(InferenceServerException, match="media"):
                await ask(client, png("red"))
            with pytest.raises(InferenceServerException, match="input_ids: token ids must be from 0"):
                await client.generate([*BEFORE, -1], 4)
    answer = await ask(engine, length=12)
    assert answer.ids == expected.ids
    assert np.allclose(answer.log_probs, expected.log_probs, atol=1e-3)


@pytest.mark.parametrize(
    "marks, media, message",
    [
        (1, [b"no medium"], "media: file 1 of 1: not an image or a recording"),
        (2, [png("red"), png("red")[:60]], "media: file 2 of 2: not an image or a recording"),
        (1, [b""], "media: file 1 is empty"),
        (2, [png("red")], r"media: 1 files for the 2 places"),
        (0, [png("red")], r"media: 1 files for the 0 places"),
        (1, None, r"media: 0 files for the 1 places"),
        (33, [png("red")] * 33, "media: at most 32 files, not 33"),
        (1, [bytes(20_000_001)], "media: file 1 has 20000001 bytes"),
    ],
)
async def test_wrong_media_are_refused(
    engine: EngineClient, marks: int, media: list[bytes] | None, message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message):
        await engine.generate([*BEFORE, *[-1] * marks, *AFTER], 4, media=media)
    assert len((await ask(engine, png("red"))).ids) == 4


async def test_other_combinations_are_refused(engine: EngineClient) -> None:
    with pytest.raises(InferenceServerException, match="return_prompt_log_probs: is not possible"):
        await ask(engine, png("red"), return_prompt_log_probs=True)
    with pytest.raises(InferenceServerException, match="input_ids: at least one token"):
        await engine.generate([-1], 4, media=[png("red")])
    with pytest.raises(InferenceServerException, match="input_ids: token ids must be from 0"):
        await engine.generate([*BEFORE, -2], 4)


async def test_the_context_is_shared_with_the_answer(engine: EngineClient) -> None:
    room = 5
    prompt = [4093] * (MEDIA_CONTEXT - IMAGE_TOKENS - room)
    answer = await engine.generate([*prompt, -1], 100, media=[png("red")], ignore_eos=True)
    assert len(answer.ids) == room
    assert answer.finish_reason == "length"
    total = MEDIA_CONTEXT
    with pytest.raises(InferenceServerException, match=f"input_ids: .* {total} tokens, {IMAGE_TOKENS} of them media"):
        await engine.generate([*prompt, *[4093] * room, -1], 1, media=[png("red")])


async def test_penalties_and_guides_work_beside_media(engine: EngineClient) -> None:
    penalized = await ask(engine, png("red"), repetition_penalty=1.5, bad_words_list=[[198], [1]])
    assert len(penalized.ids) == 4
    guided = await ask(
        engine,
        png("red"),
        length=20,
        guided_decoding_guide_type="regex",
        guided_decoding_guide="(yes|no)",
        outputs=["output_ids", "context_ids", "finish_reason"],
    )
    assert guided.finish_reason == "stop"
    assert guided.responses[0]["context_ids"][0].tolist() == [*BEFORE, *AFTER][-8:]


async def test_a_seed_reproduces_the_answer_in_company(engine: EngineClient) -> None:
    def seeded() -> Any:
        return ask(engine, png("red"), wav(0.2), length=16, seed=5, temperature=1.0, ignore_eos=True)

    alone = await seeded()
    together = await asyncio.gather(seeded(), ask(engine, length=40), ask(engine, png("blue"), length=20))
    assert together[0].ids == alone.ids


async def test_text_flows_while_media_are_read(engine: EngineClient) -> None:
    text = asyncio.create_task(ask(engine, length=60, ignore_eos=True))
    media = [ask(engine, *[png("red")] * 8, wav(0.1, 20), ignore_eos=True) for _ in range(6)]
    answers = await asyncio.gather(*media)
    assert len((await text).ids) == 60
    assert len({tuple(answer.ids) for answer in answers}) == 1


async def test_cancelled_media_end_and_make_room(engine: EngineClient) -> None:
    """More requests than slots, so that some are cancelled while they are read and others while they wait."""
    media = [wav(0.1, 25)] * 6
    requests = [f"media-{number}" for number in range(8)]
    running = [
        asyncio.create_task(ask(engine, *media, length=500, request_id=name, ignore_eos=True)) for name in requests
    ]
    await asyncio.sleep(0.7)
    for name in reversed(requests):
        stop = engine.request([0], 1, request_id=name, stop=True)
        async for _ in engine.stream(stop):
            pass
    answers = await asyncio.wait_for(asyncio.gather(*running), 60)
    assert [answer.finish_reason for answer in answers] == ["cancelled"] * len(requests)
    assert any(not answer.ids for answer in answers)
    call = engine.stream(engine.request([*BEFORE, *[-1] * 6, *AFTER], 500, media=media, streaming=True))
    await asyncio.sleep(0.3)
    call.cancel()
    assert len((await ask(engine, png("red"))).ids) == 4


async def test_the_repository_declares_it(server: TritonServer) -> None:
    config = Path(server.repositories[0]) / f"{triton_name(MEDIA)}_engine" / "config.pbtxt"
    text = config.read_text()
    assert 'name: "media"' in text
    assert "text,image,audio" in text
