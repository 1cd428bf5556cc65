"""The engine's request, read back and held against tritonclient's own encoding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tritonclient.grpc import InferInput
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import np_to_triton_dtype

from adapter.errors import APIError
from adapter.generation.sampling import Guide, Sampling, build_request, output_budget
from adapter.triton.model import ServedModel
from tests.unit.adapter.served import ENGINE_INPUTS, VOCAB

PROMPT = [1, 2, 3, 250]
PLAIN = Sampling(temperature=0.7, top_p=0.9)
EVERYTHING = Sampling(
    temperature=0.7,
    top_p=0.9,
    seed=-2,
    presence_penalty=0.5,
    frequency_penalty=-1.5,
    logit_bias={0: -100, 5: 100, 9: 1.5, VOCAB - 1: -2},
    logprobs=True,
    top_logprobs=4,
    guide=Guide("json_schema", '{"title":"é"}', "response_format"),
)


def build(model: ServedModel, sampling: Sampling = PLAIN, *, streaming: bool = True, max_tokens: int = 17) -> Any:
    return build_request(model, "chatcmpl-1", PROMPT, sampling, max_tokens, streaming=streaming)


def expected(name: str, values: Any, dtype: Any, batched: bool) -> tuple[pb.ModelInferRequest.InferInputTensor, bytes]:
    """A tensor as tritonclient makes it from numpy."""
    array: npt.NDArray[Any] = np.array(values, dtype)
    if batched:
        array = array[np.newaxis]
    tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor._get_tensor(), tensor._get_content()


def tensors(request: pb.ModelInferRequest) -> dict[str, tuple[pb.ModelInferRequest.InferInputTensor, bytes]]:
    assert len(request.inputs) == len(request.raw_input_contents)
    named = {tensor.name: (tensor, raw) for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)}
    assert len(named) == len(request.inputs), "a tensor was sent twice"
    return named


def value(request: pb.ModelInferRequest, name: str) -> list[Any]:
    tensor, raw = tensors(request)[name]
    dtype = {"INT32": "<i4", "FP32": "<f4", "UINT64": "<u8", "BOOL": "?"}[tensor.datatype]
    return list(np.frombuffer(raw, dtype).tolist())


BIAS = np.zeros(VOCAB, np.float32)
BIAS[[0, 5, 9, VOCAB - 1]] = [-1e4, 1e4, 1.5, -2]

EXPECTED: dict[str, tuple[Any, Any]] = {
    "input_ids": (PROMPT, np.int32),
    "input_lengths": ([4], np.int32),
    "request_output_len": ([17], np.int32),
    "streaming": ([True], np.bool_),
    "exclude_input_in_output": ([True], np.bool_),
    "end_id": ([7], np.int32),
    "stop_token_ids": ([8, 9], np.int32),
    "temperature": ([0.7], np.float32),
    "runtime_top_p": ([0.9], np.float32),
    "runtime_top_k": ([0], np.int32),
    "seed": ([2**64 - 2], np.uint64),
    "presence_penalty": ([0.5], np.float32),
    "frequency_penalty": ([-1.5], np.float32),
    "embedding_bias": (BIAS, np.float32),
    "guided_decoding_guide_type": ([b"json_schema"], np.object_),
    "guided_decoding_guide": (['{"title":"é"}'.encode()], np.object_),
    "return_log_probs": ([True], np.bool_),
    "top_logprobs": ([4], np.int32),
}


@pytest.mark.parametrize("batched", [False, True])
def test_every_tensor_is_as_tritonclient_encodes_it(model: ServedModel, batched: bool) -> None:
    request = build(replace(model, batched=batched), EVERYTHING)
    found = tensors(request)
    assert set(found) == set(EXPECTED)
    for name, (values, dtype) in EXPECTED.items():
        tensor, raw = expected(name, values, dtype, batched)
        assert (found[name][0].datatype, list(found[name][0].shape)) == (tensor.datatype, list(tensor.shape)), name
        assert found[name][1] == raw, name
        assert found[name][0].SerializeToString() == tensor.SerializeToString(), name


@pytest.mark.parametrize("batched", [False, True])
def test_word_lists(model: ServedModel, batched: bool) -> None:
    """TensorRT-LLM takes one `end_id`; the other end tokens are one-token stop words."""
    trtllm = replace(model, batched=batched, inputs=model.inputs - {"stop_token_ids"})
    found = tensors(build(trtllm))
    tensor, raw = expected("stop_words_list", [[8, 9], [1, 2]], np.int32, batched)
    assert found["stop_words_list"][0].SerializeToString() == tensor.SerializeToString()
    assert found["stop_words_list"][1] == raw


def test_the_request_survives_the_wire(model: ServedModel) -> None:
    request = build(model, EVERYTHING)
    again = pb.ModelInferRequest.FromString(request.SerializeToString())
    assert again == request
    assert again.model_name == "small_engine"
    assert again.id == "chatcmpl-1"


def test_outputs_are_those_that_are_wanted_and_declared(model: ServedModel) -> None:
    def names(request: pb.ModelInferRequest) -> set[str]:
        return {output.name for output in request.outputs}

    basic = {"output_ids", "sequence_length", "finish_reason", "cached_tokens"}
    assert names(build(model)) == basic
    assert names(build(model, replace(PLAIN, logprobs=True))) == basic | {"output_log_probs"}
    top = replace(PLAIN, logprobs=True, top_logprobs=2)
    assert names(build(model, top)) == basic | {"output_log_probs", "top_token_ids", "top_log_probs"}
    bare = replace(model, outputs=frozenset({"output_ids", "sequence_length", "context_ids"}))
    assert names(build(bare)) == {"output_ids", "sequence_length"}


REQUIRED = {"input_ids", "input_lengths", "request_output_len"}


def test_only_declared_tensors_are_sent(model: ServedModel) -> None:
    for absent in set(ENGINE_INPUTS) - REQUIRED:
        poorer = replace(model, inputs=model.inputs - {absent})
        default = Sampling(temperature=1.0, top_p=1.0)
        assert set(tensors(build(poorer, default))) <= poorer.inputs
    bare = replace(model, inputs=frozenset(REQUIRED))
    assert set(tensors(build(bare, Sampling(temperature=1.0, top_p=1.0)))) == REQUIRED


@pytest.mark.parametrize(
    ("tensor", "param", "sampling"),
    [
        ("temperature", "temperature", PLAIN),
        ("runtime_top_p", "top_p", PLAIN),
        ("runtime_top_k", "temperature", replace(PLAIN, temperature=0.0)),
        ("runtime_top_k", "top_p", replace(PLAIN, top_p=0.0)),
        ("seed", "seed", replace(PLAIN, seed=0)),
        ("presence_penalty", "presence_penalty", replace(PLAIN, presence_penalty=1.0)),
        ("frequency_penalty", "frequency_penalty", replace(PLAIN, frequency_penalty=1.0)),
        ("embedding_bias", "logit_bias", replace(PLAIN, logit_bias={1: 1.0})),
        ("guided_decoding_guide_type", "response_format", replace(PLAIN, guide=Guide("json", "", "response_format"))),
        ("return_log_probs", "logprobs", replace(PLAIN, logprobs=True)),
        ("top_logprobs", "top_logprobs", replace(PLAIN, logprobs=True, top_logprobs=1)),
        ("top_logprobs", "logprobs", replace(PLAIN, logprobs=True, top_logprobs=1, top_logprobs_param="logprobs")),
    ],
)
def test_a_missing_tensor_is_an_honest_refusal(model: ServedModel, tensor: str, param: str, sampling: Sampling) -> None:
    build(model, sampling)
    with pytest.raises(APIError) as caught:
        build(replace(model, inputs=model.inputs - {tensor}), sampling)
    error = caught.value
    assert (error.status, error.param, error.code) == (400, param, "unsupported_parameter")
    assert f"`{param}`" in error.message and f"`{tensor}`" in error.message and model.id in error.message


@pytest.mark.parametrize("zero", [None, 0.0])
def test_penalties_that_ask_for_nothing_need_no_tensor(model: ServedModel, zero: float | None) -> None:
    poorer = replace(model, inputs=model.inputs - {"presence_penalty", "frequency_penalty"})
    build(poorer, replace(PLAIN, presence_penalty=zero, frequency_penalty=zero))


@pytest.mark.parametrize(
    ("end_ids", "absent", "wanted"),
    [
        ((), set(), {}),
        ((7,), set(), {"end_id": [7]}),
        ((7, 8, 9), set(), {"end_id": [7], "stop_token_ids": [8, 9]}),
        ((7, 8), {"stop_token_ids"}, {"end_id": [7], "stop_words_list": [8, 1]}),
        ((7, 8), {"end_id"}, {"stop_token_ids": [7, 8]}),
        ((7, 8), {"end_id", "stop_token_ids"}, {"stop_words_list": [7, 8, 1, 2]}),
        ((7, 8), {"end_id", "stop_token_ids", "stop_words_list"}, {}),
    ],
)
def test_end_tokens(
    model: ServedModel, end_ids: tuple[int, ...], absent: set[str], wanted: dict[str, list[int]]
) -> None:
    request = build(replace(model, end_ids=end_ids, inputs=model.inputs - absent))
    names = {"end_id", "stop_token_ids", "stop_words_list"}
    assert {name: value(request, name) for name in tensors(request) if name in names} == wanted


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.5, 0.0), (0.0, 0.0)])
def test_greedy_is_top_k_1(model: ServedModel, temperature: float, top_p: float) -> None:
    """With a temperature and a top-p that every engine takes."""
    request = build(model, Sampling(temperature=temperature, top_p=top_p))
    assert value(request, "runtime_top_k") == [1]
    assert value(request, "temperature") == [1.0]
    assert value(request, "runtime_top_p") == [1.0]


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_seeds(model: ServedModel, seed: int) -> None:
    """64 bits, as two's complement: different seeds stay different."""
    assert value(build(model, replace(PLAIN, seed=seed)), "seed") == [seed if seed >= 0 else 2**64 + seed]


def test_without_a_seed_every_request_has_another(model: ServedModel) -> None:
    assert len({value(build(model), "seed")[0] for _ in range(20)}) == 20


@pytest.mark.parametrize("streaming", [True, False])
def test_streaming(model: ServedModel, streaming: bool) -> None:
    assert value(build(model, streaming=streaming), "streaming") == [streaming]


@pytest.mark.parametrize("token", [VOCAB, VOCAB + 1, 999_999_999])
def test_a_bias_for_a_token_that_there_is_not(model: ServedModel, token: int) -> None:
    with pytest.raises(APIError) as caught:
        build(model, replace(PLAIN, logit_bias={token: 1.0}))
    assert (caught.value.status, caught.value.param) == (400, "logit_bias")
    assert str(token) in caught.value.message and str(VOCAB) in caught.value.message


@pytest.mark.parametrize(
    ("prompt", "wanted", "budget"), [(10, None, 54), (63, None, 1), (10, 54, 54), (10, 1, 1), (0, 64, 64)]
)
def test_output_budget(model: ServedModel, prompt: int, wanted: int | None, budget: int) -> None:
    assert model.context_length == 64
    assert output_budget(model, prompt, wanted, "messages") == budget


@pytest.mark.parametrize(("prompt", "wanted"), [(64, None), (65, None), (64, 1), (10, 55), (10, 2**31 - 1)])
def test_output_beyond_the_context(model: ServedModel, prompt: int, wanted: int | None) -> None:
    with pytest.raises(APIError) as caught:
        output_budget(model, prompt, wanted, "messages")
    error = caught.value
    assert (error.status, error.param, error.code) == (400, "messages", "context_length_exceeded")
    assert "64 tokens" in error.message and str(prompt) in error.message
    assert wanted is None or str(prompt + wanted) in error.message
