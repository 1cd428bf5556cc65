"""The body of text completions: what it takes, what it refuses, and that every parameter of the SDK is known."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from openai.types.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from adapter.errors import APIError
from adapter.schema.completions import CompletionRequest, parse_completion_request, sampling_of

EXTENSIONS = {
    "top_k",
    "min_p",
    "repetition_penalty",
    "min_tokens",
    "ignore_eos",
    "bad_words",
    "add_special_tokens",
}


def parse(**fields: Any) -> CompletionRequest:
    return parse_completion_request({"model": "m", **fields})


@pytest.mark.parametrize("params", [CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming])
def test_every_parameter_is_decided(params: Any) -> None:
    sent = set(get_type_hints(params))
    assert len(sent) > 15
    assert sent - set(CompletionRequest.model_fields) == set()


def test_nothing_is_taken_that_there_is_not() -> None:
    sent = set(get_type_hints(CompletionCreateParamsStreaming))
    assert set(CompletionRequest.model_fields) - sent == EXTENSIONS


@pytest.mark.parametrize(
    ("prompt", "prompts", "single"),
    [
        ("a", ["a"], True),
        ("", [""], True),
        (["a", "b"], ["a", "b"], False),
        ([1, 2], [[1, 2]], True),
        ([[1], [2, 3]], [[1], [2, 3]], False),
        (None, None, True),
    ],
)
def test_forms_of_the_prompt(prompt: Any, prompts: Any, single: bool) -> None:
    request = parse(prompt=prompt)
    assert (request.prompts(), request.single) == (prompts, single)


def test_openais_defaults() -> None:
    for request in (parse(), parse(temperature=None, top_p=None, max_tokens=None, n=None, best_of=None)):
        sampling = sampling_of(request)
        assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (1.0, 1.0, 16)
        assert (request.choices, request.candidates) == (1, 1)
        assert not sampling.logprobs and not sampling.prompt_logprobs and not sampling.top_logprobs


def test_what_is_asked_of_the_engine() -> None:
    sampling = sampling_of(
        parse(
            max_tokens=0,
            temperature=0.5,
            top_p=0.25,
            stop="x",
            seed=-3,
            presence_penalty=1,
            frequency_penalty=-1,
            logit_bias={"4": 2},
            logprobs=3,
            echo=True,
            top_k=-1,
            min_p=0.1,
            repetition_penalty=1.5,
            min_tokens=2,
            ignore_eos=True,
            bad_words=["b"],
        )
    )
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (0, 0.5, 0.25)
    assert (sampling.stop, sampling.seed, sampling.logit_bias) == (("x",), -3, {4: 2.0})
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (1, -1)
    assert (sampling.logprobs, sampling.top_logprobs, sampling.prompt_logprobs) == (True, 3, True)
    assert (sampling.top_k, sampling.min_p, sampling.repetition_penalty) == (0, 0.1, 1.5)
    assert (sampling.min_tokens, sampling.ignore_eos, sampling.bad_words) == (2, True, ("b",))


def test_log_probabilities_are_asked_for_to_rank() -> None:
    assert sampling_of(parse(best_of=2)).logprobs
    assert not sampling_of(parse(best_of=2, n=2)).logprobs
    assert sampling_of(parse(logprobs=0)).logprobs
    assert not sampling_of(parse(echo=True)).prompt_logprobs
    assert not sampling_of(parse(logprobs=1)).prompt_logprobs


def test_the_most_answers() -> None:
    assert parse(n=128).candidates == 128
    assert parse(prompt=["a"] * 128).candidates == 1
    assert parse(prompt=[[1]] * 64, n=1, best_of=2).candidates == 2


def test_best_of_that_ranks_nothing_can_be_streamed() -> None:
    assert parse(stream=True, n=2, best_of=2).candidates == 2


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": 1}, "prompt", "invalid_type"),
        ({"prompt": {}}, "prompt", "invalid_type"),
        ({"prompt": []}, "prompt", "empty_array"),
        ({"prompt": [True]}, "prompt[0]", "invalid_type"),
        ({"prompt": [None]}, "prompt[0]", "invalid_type"),
        ({"prompt": ["a", 1]}, "prompt[1]", "invalid_type"),
        ({"prompt": [1, "a"]}, "prompt[1]", "invalid_type"),
        ({"prompt": [1, -1]}, "prompt[1]", "integer_below_min_value"),
        ({"prompt": [2**31]}, "prompt[0]", "integer_above_max_value"),
        ({"prompt": [[1], []]}, "prompt[1]", "empty_array"),
        ({"prompt": [[1], 2]}, "prompt[1]", "invalid_type"),
        ({"prompt": [[1], [2, "a"]]}, "prompt[1][1]", "invalid_type"),
        ({"prompt": ["a"] * 129}, "prompt", "array_above_max_length"),
        ({"prompt": [[1]] * 129}, "prompt", "array_above_max_length"),
        ({"prompt": [1] * (2**20 + 1)}, "prompt", "max_tokens_per_request"),
        ({"prompt": ["a"] * 64, "n": 3}, "n", "integer_above_max_value"),
        ({"prompt": ["a"] * 64, "n": 1, "best_of": 3}, "best_of", "integer_above_max_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 129}, "n", "integer_above_max_value"),
        ({"n": 2, "best_of": 1}, "best_of", "invalid_value"),
        ({"best_of": 2, "stream": True}, "best_of", "invalid_parameter_combination"),
        ({"max_tokens": -1}, "max_tokens", "integer_below_min_value"),
        ({"logprobs": 21}, "logprobs", "integer_above_max_value"),
        ({"logprobs": -1}, "logprobs", "integer_below_min_value"),
        ({"logprobs": True}, "logprobs", "invalid_type"),
        ({"suffix": ["a"]}, "suffix", "invalid_type"),
        ({"suffix": "a", "echo": True, "logprobs": 0}, "suffix", "invalid_parameter_combination"),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
        ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
        ({"stop": [""]}, "stop[0]", "empty_string"),
        ({"messages": []}, "messages", "unknown_parameter"),
        ({"stream": True, "stream_options": {"other": 1}}, "stream_options.other", "unknown_parameter"),
    ],
)
def test_refusals(fields: dict[str, Any], param: str, code: str | None) -> None:
    with pytest.raises(APIError) as caught:
        parse(**fields)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


def test_a_model_is_needed() -> None:
    with pytest.raises(APIError) as caught:
        parse_completion_request({"prompt": "a"})
    assert (caught.value.param, caught.value.code) == ("model", "missing_required_parameter")
