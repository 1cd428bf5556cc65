"""Text in, text out through preprocessing, engine and postprocessing, in a real Triton."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
import tritonclient.grpc.aio as grpc
from tritonclient.utils import InferenceServerException

from launcher.triton_server import TritonServer
from tests.support.engine_client import word_list
from tests.support.engine_triton import NAME, engine_triton, grpc_address
from tokentext.files import TOKENIZER_FILES
from tokentext.tokenizer import TextTokenizer

pytestmark = pytest.mark.asyncio(loop_scope="module")  # gRPC's channels belong to the loop they began in

CHAT = json.dumps([{"role": "user", "content": "What is the capital of France? Answer in one word."}])
UNICORNS = "Only emoji: 🦄🦄🦄🦄🦄🦄🦄🦄🦄"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with engine_triton(tmp_path_factory.mktemp("text"), slots=2, batch_size=64) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: TritonServer) -> AsyncIterator[grpc.InferenceServerClient]:
    client = grpc.InferenceServerClient(grpc_address(server))
    yield client
    await client.close()


def tensor(name: str, value: Any) -> grpc.InferInput:
    kinds = {bool: ("BOOL", np.bool_), int: ("INT32", np.int32), float: ("FP32", np.float32)}
    values = value if isinstance(value, list) else [value]
    datatype, dtype = kinds.get(type(values[0]), ("BYTES", np.object_))
    values = [each.encode() if isinstance(each, str) else each for each in values]
    made = grpc.InferInput(name, [1, len(values)], "UINT64" if name == "seed" else datatype)
    made.set_data_from_numpy(np.array([values], dtype=np.uint64 if name == "seed" else dtype))
    return made


async def generate(client: grpc.InferenceServerClient, request_id: str = "", **inputs: Any) -> list[dict[str, Any]]:
    """Output tensors of every response of the ensemble."""

    async def items() -> AsyncIterator[dict[str, Any]]:
        tensors = [tensor(name, value) for name, value in inputs.items()]
        yield {"model_name": NAME, "inputs": tensors, "request_id": request_id}

    responses = []
    async for result, error in client.stream_infer(items()):
        if error is not None:
            raise error
        outputs = result.get_response().outputs
        responses.append({output.name: result.as_numpy(output.name)[0] for output in outputs})
    return responses


def text_of(responses: list[dict[str, Any]]) -> str:
    return b"".join(response["text_output"][0] for response in responses).decode()


async def preprocess(client: grpc.InferenceServerClient, **inputs: Any) -> dict[str, np.ndarray]:
    result = await client.infer(f"{NAME}_preprocessing", [tensor(name, value) for name, value in inputs.items()])
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


async def test_text(client: grpc.InferenceServerClient) -> None:
    (whole,) = await generate(client, text_input="The capital of France is", max_tokens=5)
    streamed = await generate(client, text_input="The capital of France is", max_tokens=5, stream=True)
    assert "Paris" in whole["text_output"][0].decode()
    assert text_of(streamed) == whole["text_output"][0].decode()
    assert len(streamed) > 1
    assert streamed[-1]["finish_reason"][0] == b"length"


async def test_chat(client: grpc.InferenceServerClient) -> None:
    responses = await generate(client, messages=CHAT, max_tokens=40, stream=True)
    assert "Paris" in text_of(responses)
    assert "<|im_end|>" not in text_of(responses)
    assert responses[-1]["finish_reason"][0] == b"stop"


@pytest.mark.parametrize("request_id", ["", "with-an-id"])
async def test_characters_are_never_broken(client: grpc.InferenceServerClient, request_id: str) -> None:
    biased = {"embedding_bias_words": ["🦄"], "embedding_bias_weights": [25.0]}
    inputs = {"text_input": UNICORNS, "max_tokens": 30} | biased
    streamed = await generate(client, request_id, stream=True, **inputs)
    assert len(streamed) > 10
    for response in streamed:
        assert "\ufffd" not in response["text_output"][0].decode()  # valid UTF-8 each by itself
    (whole,) = await generate(client, **inputs)
    assert text_of(streamed) == whole["text_output"][0].decode()
    assert text_of(streamed).count("🦄") >= 5


async def test_a_character_cut_off_by_the_length_is_not_lost(
    client: grpc.InferenceServerClient, tokenizer: TextTokenizer
) -> None:
    """The first token of a unicorn and no second: one replacement character, as in the whole text."""
    guide = {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "🦄{9}"}
    inputs = {"text_input": UNICORNS, "max_tokens": len(tokenizer.encode("🦄🦄")) - 1} | guide
    streamed = await generate(client, stream=True, **inputs)
    (whole,) = await generate(client, **inputs)
    assert text_of(streamed) == whole["text_output"][0].decode() == "🦄\ufffd"


async def test_empty_words_are_none(client: grpc.InferenceServerClient) -> None:
    """Triton's own examples send them so."""
    inputs = {"text_input": "The capital of France is", "max_tokens": 5}
    (plain,) = await generate(client, **inputs)
    (with_empty,) = await generate(client, stop_words=[""], bad_words=[""], **inputs)
    assert with_empty["text_output"][0] == plain["text_output"][0]


async def test_words_and_sampling(client: grpc.InferenceServerClient) -> None:
    inputs = {"text_input": "Once upon a time there was a little", "max_tokens": 12, "stream": True}
    plain = text_of(await generate(client, **inputs))
    word = plain.split()[2]
    stopped = await generate(client, **inputs, stop_words=[f" {word}"])
    assert text_of(stopped) == plain[: plain.index(f" {word}") + len(word) + 1]
    assert stopped[-1]["finish_reason"][0] == b"stop"
    assert f" {word}" not in text_of(await generate(client, **inputs, bad_words=[f" {word}"]))
    seeded = {"temperature": 1.2, "top_p": 0.9, "top_k": 50, "seed": 11}
    first, second = [text_of(await generate(client, **inputs, **seeded)) for _ in range(2)]
    assert first == second != plain
    counted = await generate(client, **inputs, return_num_input_tokens=True, return_log_probs=True)
    assert counted[0]["num_input_tokens"][0] > 5
    assert all(response["output_log_probs"].shape[-1] >= 1 for response in counted)


async def test_length_defaults_to_what_is_left(client: grpc.InferenceServerClient) -> None:
    outputs = await preprocess(client, QUERY="one two three")
    assert outputs["REQUEST_OUTPUT_LEN"][0, 0] == 8192 - outputs["REQUEST_INPUT_LEN"][0, 0]


async def test_http_stream(server: TritonServer) -> None:
    body = {"messages": CHAT, "max_tokens": 30, "stream": True}
    async with httpx.AsyncClient(base_url=server.http_url, timeout=60.0) as http:
        async with http.stream("POST", f"/v2/models/{NAME}/generate_stream", json=body) as response:
            assert response.status_code == 200
            lines = [line async for line in response.aiter_lines() if line]
        events = [json.loads(line.removeprefix("data: ")) for line in lines]
        assert "Paris" in "".join(event["text_output"] for event in events)
        assert events[-1]["finish_reason"] == "stop"
        whole = await http.post(f"/v2/models/{NAME}/generate", json={"text_input": "Hello", "max_tokens": 3})
        assert whole.json()["text_output"]


async def test_preprocessing_tensors(client: grpc.InferenceServerClient, tokenizer: TextTokenizer) -> None:
    outputs = await preprocess(
        client,
        QUERY="Hello there",
        REQUEST_OUTPUT_LEN=7,
        STOP_WORDS_DICT=["\n\n", " end"],
        BAD_WORDS_DICT=[" bad word"],
    )
    assert outputs["INPUT_ID"][0].tolist() == tokenizer.encode("Hello there", add_special_tokens=True)
    assert outputs["REQUEST_OUTPUT_LEN"][0, 0] == 7
    words = [tokenizer.encode("\n\n"), tokenizer.encode(" end"), [0]]  # the model's second end token is the last
    assert outputs["STOP_WORDS_IDS"][0].tolist() == word_list(*words).tolist()
    assert outputs["BAD_WORDS_IDS"][0].tolist() == word_list(tokenizer.encode(" bad word")).tolist()
    assert outputs["EMBEDDING_BIAS"].shape == (1, 0)
    assert outputs["OUT_END_ID"][0, 0] == 2
    rendered = await preprocess(client, MESSAGES=CHAT)
    assert tokenizer.template is not None
    assert rendered["INPUT_ID"][0].tolist() == tokenizer.encode(tokenizer.template.render(json.loads(CHAT)))


async def test_tokenizer_files(client: grpc.InferenceServerClient, tokenizer: TextTokenizer) -> None:
    for name in TOKENIZER_FILES:
        outputs = await preprocess(client, file_name=name)
        assert outputs["file_content"][0, 0] == (tokenizer.folder / name).read_bytes()
    for name in ("config.json", "../config.pbtxt", "/etc/passwd"):
        with pytest.raises(InferenceServerException, match="file_name: there is no tokenizer file") as error:
            await preprocess(client, file_name=name)
        assert "NOT_FOUND" in str(error.value.status())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "QUERY: exactly one of QUERY and MESSAGES"),
        ({"text_input": "a", "messages": CHAT}, "QUERY: exactly one of QUERY and MESSAGES"),
        ({"messages": "{"}, "MESSAGES: not JSON"),
        ({"messages": '["hi"]'}, "MESSAGES: a JSON array of message objects"),
        ({"text_input": "a", "embedding_bias_words": ["b"]}, "EMBEDDING_BIAS_WEIGHTS: 1 weights are needed"),
        ({"text_input": "word " * 9000}, "QUERY: the prompt has .* leaves no room"),
        ({"text_input": "a", "temperature": -1.0}, "temperature: must be"),
        ({"text_input": b"\xff"}, "QUERY: must be UTF-8"),
    ],
)
async def test_errors_name_the_input(client: grpc.InferenceServerClient, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(InferenceServerException, match=message):
        await generate(client, **{"max_tokens": 3} | inputs)


async def test_postprocessing_of_an_engine_without_context(
    client: grpc.InferenceServerClient, tokenizer: TextTokenizer
) -> None:
    """As over the C++ backend: the request id ties the responses together; without one, each stands for itself."""
    ids = tokenizer.encode("a🦄b")
    assert len(ids) == 5

    async def text(part: list[int], request_id: str) -> bytes:
        tokens = grpc.InferInput("TOKENS_BATCH", [1, 1, len(part)], "INT32")
        tokens.set_data_from_numpy(np.array([[part]], dtype=np.int32))
        length = grpc.InferInput("SEQUENCE_LENGTH", [1, 1], "INT32")
        length.set_data_from_numpy(np.array([[len(part)]], dtype=np.int32))
        result = await client.infer(f"{NAME}_postprocessing", [tokens, length], request_id=request_id)
        return bytes(result.as_numpy("OUTPUT")[0, 0])

    texts = [await text([token], "an-id") for token in ids]
    assert [part.decode() for part in texts] == ["a", "", "", "🦄", "b"]
    assert "\ufffd" in (await text(ids[:2], "")).decode()
    assert (await text(ids, "")).decode() == "a🦄b"
