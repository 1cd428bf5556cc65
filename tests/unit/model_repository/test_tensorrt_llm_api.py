"""The engine over TensorRT-LLM's LLM API: requests in its terms, its results in ours. No Triton, no LLM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.model_modules import model_module
from tests.support.stand_in_imports import stand_in_installed

extras = model_module("tensorrt_llm_api", "extras")
faults = model_module("tensorrt_llm_api", "faults")
features = model_module("tensorrt_llm_api", "llm_features")
generation = model_module("tensorrt_llm_api", "generation")
llm_args = model_module("tensorrt_llm_api", "llm_args")
request = model_module("tensorrt_llm_api", "request")
sampling = model_module("tensorrt_llm_api", "sampling_params")

LIMITS = request.Limits(context_length=500, vocab_size=100, end_ids=(2, 3), lora_tasks=frozenset({4}))


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Any]:
    with stand_in_installed(tmp_path / "new", "1.3.0"):
        yield features.Features("", "xgrammar")


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Any]:
    with stand_in_installed(tmp_path / "old", "1.2.1"):
        yield features.Features("", "xgrammar")


def words(*each: list[int]) -> list[list[int]]:
    ids = [token for word in each for token in word]
    ends = np.cumsum([len(word) for word in each]).tolist()
    return [ids, ends + [-1] * (len(ids) - len(ends))]


def arrays(tensors: dict[str, Any]) -> dict[str, np.ndarray]:
    made = {"input_ids": [5, 6, 7], "request_output_len": 4} | tensors
    return {name: np.array(value)[np.newaxis] for name, value in made.items()}


def made_of(**tensors: Any) -> Any:
    return generation.Generation(request.read_request(arrays(tensors), LIMITS), extras.read_extras(arrays(tensors)))


def params_of(release: Any, **tensors: Any) -> Any:
    made = made_of(**tensors)
    tokenizer = SimpleNamespace(decode=lambda ids: "-".join(map(str, ids)))
    return sampling.sampling_params(
        made.request, made.extras, release, end_ids=LIMITS.end_ids, vocab_size=LIMITS.vocab_size, tokenizer=tokenizer
    )


def test_what_a_release_can_do_is_read_from_its_classes(new: Any) -> None:
    assert new.version == "1.3.0"
    assert new.scores_prompt and new.counts_tokens
    assert {"structural_tag", "json", "regex"} <= new.guides
    assert {"cache_salt", "lora_request", "streaming"} <= new.call


def test_an_older_release_can_do_less(old: Any) -> None:
    assert not old.scores_prompt and not old.counts_tokens
    assert features.Features("TRTLLMSampler", "").counts_tokens


def test_every_request_names_its_end(new: Any) -> None:
    """A missing end id sends the LLM API to the tokenizer and generation_config.json for theirs."""
    params = params_of(new)
    assert (params.end_id, params.stop_token_ids, params.ignore_eos) == (2, [3], False)
    assert params_of(new, end_id=50).end_id == 50
    assert params_of(new, end_id=50).stop_token_ids is None
    ignoring = params_of(new, ignore_eos=True, stop_token_ids=[9, 8])
    assert (ignoring.end_id, ignoring.ignore_eos, ignoring.stop_token_ids) == (2, True, [8, 9])


def test_stop_words_go_to_the_llm_where_it_can_keep_them(new: Any) -> None:
    assert params_of(new, stop_words_list=words([7], [8, 9])).stop_token_ids == [3, 7]
    assert params_of(new, stop_words_list=words([7]), min_tokens=2).stop_token_ids == [3]
    assert made_of(stop_words_list=words([8, 9])).watched
    assert made_of(stop_words_list=words([8]), min_tokens=2).watched
    assert not made_of(stop_words_list=words([8]), stop_token_ids=[4]).watched
    assert not made_of(min_tokens=2).watched


def test_bad_words(new: Any) -> None:
    params = params_of(new, bad_words_list=words([7], [8, 9]))
    assert params.bad_token_ids == [7]
    assert params.bad == ["8-9"]
    assert params._get_bad_words() == [[7], [8, 9]]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"presence_penalty": 0.5}, "presence_penalty: the sampler of this TensorRT-LLM release passes over it"),
        ({"repetition_penalty": 1.2}, "repetition_penalty: the sampler"),
        ({"bad_words_list": words([7])}, "bad_words_list: the sampler"),
        ({"return_prompt_log_probs": True}, "return_prompt_log_probs: this TensorRT-LLM release gives the likeliest"),
    ],
)
def test_what_an_older_release_would_pass_over_is_refused(old: Any, tensors: dict[str, Any], message: str) -> None:
    with pytest.raises(request.RequestError, match=message):
        params_of(old, **tensors)
    assert params_of(old, presence_penalty=0.0, repetition_penalty=1.0) is not None


def test_penalties_pass_over_the_prompt(new: Any) -> None:
    """Also over the tokens that images take in it, whose number is known later."""
    assert params_of(new, presence_penalty=0.5).prompt_ignore_length == 3
    asked = replace(made_of(presence_penalty=0.5).request, media_places=(1,))
    ends = {"end_ids": LIMITS.end_ids, "vocab_size": LIMITS.vocab_size, "tokenizer": None}
    assert sampling.sampling_params(asked, extras.Extras(), new, **ends).prompt_ignore_length == 2**31 - 1


def test_a_field_that_a_release_does_not_have_is_refused(new: Any) -> None:
    new.params -= {"min_p", "embedding_bias"}
    with pytest.raises(request.RequestError, match="min_p: is not known to this TensorRT-LLM release"):
        params_of(new, temperature=1.0, min_p=0.5)
    bias = np.zeros(100, dtype=np.float32)
    bias[4] = 1.0
    with pytest.raises(request.RequestError, match="embedding_bias: is not known"):
        params_of(new, embedding_bias=bias)
    new.guides -= {"structural_tag"}
    with pytest.raises(request.RequestError, match="guide_type: 'structural_tag' is not one of json, json_schema"):
        params_of(new, guided_decoding_guide_type=b"structural_tag", guided_decoding_guide=b"{}")


def test_without_a_backend_there_are_no_guides(new: Any) -> None:
    assert params_of(features.Features("", "")).guided_decoding is None
    with pytest.raises(request.RequestError, match="guide_type: guided_decoding_backend is not set"):
        params_of(features.Features("", ""), guided_decoding_guide_type=b"json")


def test_log_probabilities_are_asked_for_with_the_chosen_one(new: Any) -> None:
    assert params_of(new).logprobs is None
    assert params_of(new, return_log_probs=True).logprobs == 1
    assert params_of(new, top_logprobs=5).logprobs == 5
    assert params_of(new, return_prompt_log_probs=True, request_output_len=0).max_tokens == 1


def output(ids: list[int], reason: str | None = None, **more: Any) -> Any:
    return SimpleNamespace(token_ids=ids, finish_reason=reason, logprobs=more.get("logprobs"))


def test_new_tokens_are_counted_here() -> None:
    """Of several answers the LLM API's own differences go back to the last response of any."""
    (sequence,) = made_of(request_output_len=9).sequences
    sequence.advance(output([10, 11]), False)
    assert [token.id for token in sequence.take()] == [10, 11]
    sequence.advance(output([10, 11]), False)
    assert sequence.take() == []
    sequence.advance(output([10, 11, 12, 2, 13]), False)
    assert [token.id for token in sequence.take()] == [12, 2]
    assert sequence.reason == "stop"
    sequence.advance(output([10, 11, 12, 2, 13, 14]), True)
    assert sequence.take() == []


@pytest.mark.parametrize(
    ("named", "reason"),
    [("stop", "stop"), ("length", "length"), ("cancelled", "cancelled"), ("timeout", "cancelled"), (None, "stop")],
)
def test_reasons(named: str | None, reason: str) -> None:
    (sequence,) = made_of().sequences
    sequence.advance(output([10], named), True)
    assert sequence.reason == reason


def test_late_log_probabilities_hold_their_tokens_back() -> None:
    (sequence,) = made_of(return_log_probs=True).sequences
    sequence.advance(output([10, 11], logprobs=[-1.0]), False)
    assert [(token.id, token.log_prob) for token in sequence.take()] == [(10, -1.0)]
    sequence.advance(output([10, 11], logprobs=[-1.0, {11: SimpleNamespace(logprob=-2.0)}]), False)
    assert [(token.id, token.log_prob) for token in sequence.take()] == [(11, -2.0)]
    with pytest.raises(generation.EngineFault, match="log probabilities of 1 tokens are missing"):
        sequence.advance(output([10, 11, 12], logprobs=[-1.0, -2.0]), True)


def test_alternatives() -> None:
    scores = {7: SimpleNamespace(logprob=-3.0), 8: SimpleNamespace(logprob=-0.5), 9: SimpleNamespace(logprob=-1.0)}
    token = generation.scored_token(7, scores, 2)
    assert (token.log_prob, token.alternatives) == (-3.0, ((8, -0.5), (9, -1.0)))
    with pytest.raises(generation.EngineFault, match="of the chosen token alone"):
        generation.scored_token(7, -3.0, 2)
    with pytest.raises(generation.EngineFault, match="the log probability of token 5 is missing"):
        generation.scored_token(5, scores, 2)


@pytest.mark.parametrize(
    ("message", "guided", "tensor"),
    [
        ("Invalid grammar: expected '::='", True, "guided_decoding_guide"),
        ("Invalid grammar: expected '::='", False, None),
        ("The sum of prompt length (9), query length (0) should not exceed max_num_tokens (8)", False, "input_ids"),
        ("sampling_params.n (9) cannot exceed max_batch_size (8)", False, "num_return_sequences"),
        ("CUDA out of memory", True, None),
    ],
)
def test_whose_fault_it_is(message: str, guided: bool, tensor: str | None) -> None:
    assert faults.blamed(message, guided) == tensor


SETTINGS = {
    "model": "/m",
    "tokenizer_dir": "/t",
    "context_length": "4096",
    "tensor_parallel_size": "4",
    "pipeline_parallel_size": "2",
    "max_batch_size": "32",
    "enable_chunked_prefill": "true",
    "enable_block_reuse": "false",
    "free_gpu_memory_fraction": "0.5",
    "kv_cache_dtype": "fp8",
    "host_cache_size": "0",
}


def test_arguments_of_the_llm(new: Any) -> None:
    args = llm_args.llm_args({**SETTINGS, "llm_args": '{"max_batch_size": 8, "stream_interval": 2}'}, {})
    assert (args["model"], args["tokenizer"], args["max_seq_len"]) == ("/m", "/t", 4096)
    assert (args["tensor_parallel_size"], args["pipeline_parallel_size"]) == (4, 2)
    assert (args["max_batch_size"], args["stream_interval"], args["enable_chunked_prefill"]) == (8, 2, True)
    cache = args["kv_cache_config"]
    assert (cache.free_gpu_memory_fraction, cache.enable_block_reuse, cache.dtype) == (0.5, False, "fp8")
    assert cache.host_cache_size is None
    assert not {"max_num_tokens", "sampler_type", "lora_config", "guided_decoding_backend"} & args.keys()
    adapters = llm_args.read_adapters({"lora_adapters": json.dumps({"4": {"name": "sql", "path": "/l", "scale": 1}})})
    assert llm_args.llm_args(SETTINGS, adapters)["lora_config"].lora_dir == ["/l"]


DRAFT = {"speculative_model_dir": "/d", "max_draft_len": "5"}


def test_a_draft_model_under_the_name_that_the_release_has_for_it(new: Any) -> None:
    args = llm_args.llm_args(SETTINGS | DRAFT, {})
    assert vars(args["speculative_config"]) == {"max_draft_len": 5, "speculative_model": "/d"}
    assert args["disable_overlap_scheduler"] is True
    assert not {"speculative_config", "disable_overlap_scheduler"} & llm_args.llm_args(SETTINGS, {}).keys()


def test_a_draft_model_under_the_name_of_release_1_2(old: Any) -> None:
    config = llm_args.llm_args(SETTINGS | DRAFT, {})["speculative_config"]
    assert vars(config) == {"max_draft_len": 5, "speculative_model_dir": "/d"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": ""}, "model: is needed"),
        ({"max_batch_size": "many"}, "max_batch_size: a whole number"),
        ({"free_gpu_memory_fraction": "1.5"}, "free_gpu_memory_fraction: a number over 0"),
        ({"enable_block_reuse": "perhaps"}, "enable_block_reuse: true or false"),
        ({"llm_args": "{"}, "llm_args: not JSON"),
        ({"llm_args": "[]"}, "llm_args: a JSON object"),
        ({"lora_adapters": '{"x": {"name": "a", "path": "b"}}'}, "lora_adapters: 'x': a task id"),
        ({"lora_adapters": '{"1": {"name": "a"}}'}, "lora_adapters: '1': a task id over 0 with `name` and `path`"),
    ],
)
def test_settings_that_make_no_sense(new: Any, change: dict[str, str], message: str) -> None:
    settings = SETTINGS | change
    with pytest.raises(llm_args.SettingError, match=message):
        llm_args.llm_args(settings, llm_args.read_adapters(settings))
