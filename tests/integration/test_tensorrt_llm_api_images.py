"""Images for the engine over TensorRT-LLM's LLM API, in a real Triton and through the adapter. Only the LLM is none."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from PIL import Image
from tritonclient.utils import InferenceServerException

from tests.support.adapter_process import AdapterProcess
from tests.support.engine_client import EngineClient
from tests.support.engine_triton import grpc_address
from tests.support.own_adapter import client_of
from tests.support.stand_in_model import CONTEXT, ENGINE, MODEL, StandIn, stand_in_triton

PROMPT = [300, 301, 302]
IMAGE_TOKEN = 49151  # of the stand-in; one for each 28 x 28 pixels
VISION: dict[str, Any] = {
    "config": {"model_type": "qwen2_5_vl", "image_token_id": IMAGE_TOKEN},
    "modalities": ["text", "image"],
}
RED, BLUE = [255, 0, 0], [0, 0, 255]

in_one_loop = pytest.mark.asyncio(loop_scope="module")  # gRPC's channels belong to the loop they began in


def png(*colors: list[int], size: tuple[int, int] = (56, 28)) -> bytes:
    """Above the first color, below the last."""
    image = Image.new("RGB", size, tuple(colors[0]))
    image.paste(Image.new("RGB", (size[0], size[1] // 2), tuple(colors[-1])), (0, size[1] - size[1] // 2))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in_triton(tmp_path_factory.mktemp("llm-api"), max_batch_size=4, **VISION) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(stand_in: StandIn) -> AsyncIterator[EngineClient]:
    async with EngineClient(grpc_address(stand_in.server), ENGINE) as client:
        yield client


@pytest.fixture(scope="module")
def adapter(stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterProcess]:
    with AdapterProcess(stand_in.server.grpc_url, tmp_path_factory.mktemp("llm-api") / "adapter.log") as process:
        yield process


def told(stand_in: StandIn) -> dict[str, Any]:
    return stand_in.events("request")[-1]


def seen(stand_in: StandIn) -> list[Any]:
    """Size and corners of the images that the LLM was last given."""
    return [(image["size"], image["corners"]) for image in told(stand_in)["images"]]


@in_one_loop
async def test_two_images_in_their_places(engine: EngineClient, stand_in: StandIn) -> None:
    files = [png(RED), png(BLUE, RED, size=(28, 28))]
    answer = await engine.generate([300, -1, 301, -1, 302], 3, media=files, return_num_input_tokens=True)
    assert len(answer.ids) == 3
    assert seen(stand_in) == [([56, 28], [RED, RED]), ([28, 28], [BLUE, RED])]
    assert {image["mode"] for image in told(stand_in)["images"]} == {"RGB"}
    first = answer.responses[0]
    assert first["prompt_tokens"].tolist() == first["num_input_tokens"].tolist() == [[told(stand_in)["prompt"]]]
    assert all("prompt_tokens" not in response for response in answer.responses[1:])


@in_one_loop
async def test_prompts_of_other_images_share_nothing_computed(engine: EngineClient, stand_in: StandIn) -> None:
    """Token ids of equally large images are equal."""
    cached = []
    for color in (RED, BLUE, RED):
        answer = await engine.generate([*PROMPT * 4, -1], 1, media=[png(color, color, size=(280, 56))])
        cached.append(int(answer.responses[0]["cached_tokens"][0, 0]))
    assert cached[:2] == [0, 0]
    assert cached[2] >= 24


@in_one_loop
@pytest.mark.parametrize(
    ("prompt", "media", "message"),
    [
        ([300, -1], [b"no image"], "media: file 1 of 1: not an image"),
        ([300, -1, -1], [png(RED), png(RED)[:70]], "media: file 2 of 2: not an image that can be read"),
        ([300, -1], [], "media: 0 files for the 1 places"),
        ([300, *[-1] * 33], [png(RED)] * 33, "media: at most 32 files, not 33"),
        ([300, IMAGE_TOKEN, -1], [png(RED)], "input_ids: token 49151 stands for media"),
        ([300, IMAGE_TOKEN], [], "input_ids: token 49151 stands for media"),
        ([300, -1], [png(RED, size=(2800, 784))], f"input_ids: the prompt has 2801 tokens, .* holds {CONTEXT}"),
    ],
)
async def test_what_is_refused(
    engine: EngineClient, stand_in: StandIn, prompt: list[int], media: list[bytes], message: str
) -> None:
    before = len(stand_in.events("request"))
    with pytest.raises(InferenceServerException, match=message):
        await engine.generate(prompt, 2, media=media or None)
    assert len(stand_in.events("request")) == before  # the LLM has not heard of it
    assert len((await engine.generate(PROMPT, 3)).ids) == 3


@in_one_loop
async def test_the_answer_gets_what_the_context_has_left(engine: EngineClient) -> None:
    image = png(RED, size=(2800, 560))  # 2000 tokens
    answer = await engine.generate([300, -1], CONTEXT, media=[image], ignore_eos=True, streaming=False)
    assert len(answer.ids) == CONTEXT - 2001
    assert answer.finish_reason == "length"


@in_one_loop
async def test_cancelled_while_images_are_read(engine: EngineClient, stand_in: StandIn) -> None:
    large = png(RED, BLUE, size=(4000, 4000))
    for number in range(6):
        call = engine.stream(engine.request([300, -1, -1], 50, media=[large] * 2, streaming=True))
        reading = asyncio.ensure_future(anext(aiter(call)))
        await asyncio.sleep(0.02 * number)
        call.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert len((await engine.generate([300, -1], 3, media=[png(RED)])).ids) == 3
    assert stand_in.server.starts == 1


def part(data: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(data).decode()}"}}


def ask(client: openai.OpenAI, *parts: Any) -> Any:
    return client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": list(parts)}], max_tokens=4, temperature=0
    )


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def test_an_image_of_a_chat(adapter: AdapterProcess, stand_in: StandIn) -> None:
    with client_of(adapter) as client:
        plain = ask(client, text("Left"), text("Right"))
        answer = ask(client, text("Left"), part(png(RED, BLUE)), text("Middle"), part(png(BLUE)), text("Right"))
    assert seen(stand_in) == [([56, 28], [RED, BLUE]), ([56, 28], [BLUE, BLUE])]
    before, between, after = told(stand_in)["text"]
    assert before.endswith("user\nLeft\n") and between == "\nMiddle\n" and after.startswith("\nRight<|im_end|>")
    assert answer.usage.prompt_tokens == told(stand_in)["prompt"] > plain.usage.prompt_tokens + 4


def test_what_the_engine_refuses_of_a_chat(adapter: AdapterProcess) -> None:
    with (
        client_of(adapter) as client,
        pytest.raises(openai.BadRequestError, match=r"prompt has 5\d+ tokens, 5184 of them media") as caught,
    ):
        ask(client, text("What is this?"), part(png(RED, size=(2000, 2000))))
    assert caught.value.param == "messages"


def test_audio_is_refused(adapter: AdapterProcess) -> None:
    clip = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    with client_of(adapter) as client, pytest.raises(openai.BadRequestError, match="audio"):
        ask(client, text("What is this?"), clip)


@in_one_loop
async def test_release_1_2(tmp_path: Path) -> None:
    """It prepares images within `generate_async`."""
    with stand_in_triton(tmp_path, release="1.2.1", **VISION) as old:
        async with EngineClient(grpc_address(old.server), ENGINE) as engine:
            answer = await engine.generate([300, -1, 302], 3, media=[png(RED, BLUE)])
            assert answer.responses[0]["prompt_tokens"].tolist() == [[4]]
            assert seen(old) == [([56, 28], [RED, BLUE])]
            with pytest.raises(InferenceServerException, match=r"input_ids: the prompt has 2801 tokens"):
                await engine.generate([300, -1], 2, media=[png(RED, size=(2800, 784))])
            assert len((await engine.generate(PROMPT, 3)).ids) == 3
