"""A request in the LLM API's terms: `SamplingParams`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .extras import Extras
from .llm_features import TORCH_SAMPLER_IGNORES, Features
from .request import Request, RequestError
from .word_lists import Word

MAX_GUIDE = 256 * 1024  # characters
GUIDE_FIELDS = {
    "json": "json_object",
    "json_schema": "json",
    "regex": "regex",
    "ebnf_grammar": "grammar",
    "structural_tag": "structural_tag",
}


def sampling_params(
    request: Request, extras: Extras, features: Features, *, end_ids: tuple[int, ...], vocab_size: int, tokenizer: Any
) -> Any:
    """The `SamplingParams` of a request.

    Args:
        end_ids: the model's own end tokens.
        vocab_size: length of a bias.
        tokenizer: of the LLM; for bad words of several tokens.
    Raises:
        RequestError: something that this TensorRT-LLM cannot do; the message begins with the tensor's name.
    """
    end_id = next((token for token in end_ids if token in request.end_ids), None)
    if end_id is None:
        # Without one the LLM API takes those of the tokenizer and of generation_config.json.
        end_id = min(request.end_ids, default=end_ids[0] if end_ids else 0)
    values: dict[str, Any] = {
        "max_tokens": max(1, request.output_length),
        "end_id": end_id,
        "ignore_eos": not request.end_ids,
        "stop_token_ids": _stop_token_ids(request, end_id) or None,
        "include_stop_str_in_output": True,  # what ends an answer is part of it
        "n": extras.sequences,
        "min_tokens": request.min_tokens or None,
        "detokenize": False,  # only tokens go back: nobody reads the text
        "exclude_input_from_output": True,
        "guided_decoding": _guide(request, features),
        "return_perf_metrics": extras.perf_metrics,
        **_choice(request, extras, features),
        **_scores(request, features),
        **_penalties(request, features),
    }
    if request.bias is not None:
        values["embedding_bias"] = _dense(request, vocab_size)
    wanted = [name for name, value in values.items() if value is not None and value is not False]
    unknown = [name for name in wanted if name not in features.params]
    if unknown:
        raise RequestError(unknown[0], "is not known to this TensorRT-LLM release")
    params = _make(features.sampling_params, {key: value for key, value in values.items() if key in features.params})
    if request.bad_words:
        _ban(params, request.bad_words, features, tokenizer)
    return params


def _make(kind: Any, values: dict[str, Any]) -> Any:
    try:
        return kind(**values)
    except ValueError as error:  # it checks itself: n answers of a greedy choice, for one
        tensor = "num_return_sequences" if values["n"] > 1 else "request_output_len"
        raise RequestError(tensor, str(error)) from None


def _stop_token_ids(request: Request, end_id: int) -> list[int]:
    """Tokens that end the answer beside the end token. Before `min_tokens` only end tokens may end it."""
    ids = set(request.end_ids) - {end_id}
    if not request.min_tokens:
        ids |= request.stop_ids | {word[0] for word in request.stop_words if len(word) == 1}
    return sorted(ids)


def _choice(request: Request, extras: Extras, features: Features) -> dict[str, Any]:
    """Temperature, top-k, top-p: all of them or, for the likeliest token, top-k 1 alone. What is not said means
    different things to the samplers of different releases."""
    sampling = request.sampling
    if sampling.temperature == 0.0 or sampling.top_k == 1:
        if extras.sequences > 1:
            raise RequestError("num_return_sequences", "several answers would all be the likeliest one: sample them")
        return {"top_k": 1}
    values: dict[str, Any] = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
    if sampling.min_p > 0.0:
        if "min_p" not in features.params:
            raise RequestError("min_p", "is not known to this TensorRT-LLM release")
        values["min_p"] = sampling.min_p
    if sampling.seed is not None:
        values["seed"] = sampling.seed
    return values


def _scores(request: Request, features: Features) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if request.log_probs or request.alternatives:
        # 0 stands for none in some releases and for the chosen token alone in others; 1 always holds it.
        values["logprobs"] = max(1, request.alternatives)
    if request.prompt_log_probs:
        if not features.scores_prompt:
            raise RequestError(
                "return_prompt_log_probs",
                "this TensorRT-LLM release gives the likeliest tokens, not the log probabilities of the prompt's own",
            )
        values["prompt_logprobs"] = request.alternatives
    return values


def _penalties(request: Request, features: Features) -> dict[str, Any]:
    sampling = request.sampling
    given = {
        name: value
        for name, value, neutral in (
            ("repetition_penalty", sampling.repetition_penalty, 1.0),
            ("presence_penalty", sampling.presence_penalty, 0.0),
            ("frequency_penalty", sampling.frequency_penalty, 0.0),
        )
        if value != neutral
    }
    if given and not features.counts_tokens:
        raise RequestError(next(iter(given)), TORCH_SAMPLER_IGNORES)
    if given.keys() - {"repetition_penalty"} and "prompt_ignore_length" in features.params:
        # As in OpenAI's API: the answer's tokens are counted. How many the images of a prompt take is not yet known; a
        # number over the prompt's length stands for all of it.
        given["prompt_ignore_length"] = 2**31 - 1 if request.media_places else len(request.prompt)
    return given


def _dense(request: Request, vocab_size: int) -> Any:
    """The bias as the LLM API wants it: a torch tensor, FP32 [vocab_size]."""
    import torch  # comes with TensorRT-LLM; nothing else here needs it

    assert request.bias is not None
    dense = np.zeros(vocab_size, dtype=np.float32)
    dense[request.bias.ids] = request.bias.values
    return torch.from_numpy(dense)


def _ban(params: Any, words: Any, features: Features, tokenizer: Any) -> None:
    if not features.counts_tokens:
        raise RequestError("bad_words_list", TORCH_SAMPLER_IGNORES)
    params.bad_token_ids = [word[0] for word in words if len(word) == 1] or None
    several: list[Word] = [word for word in words if len(word) > 1]
    if not several:
        return
    if tokenizer is None or not hasattr(params, "_bad_word_ids"):
        raise RequestError("bad_words_list", "words of several tokens are not possible in this TensorRT-LLM release")
    # The LLM API takes such words as text. It encodes them only for requests without an end id, so the tokens that it
    # would have made are put beside the text.
    params.bad = [tokenizer.decode(list(word)) for word in several]
    params._bad_word_ids = [list(word) for word in several]


def _guide(request: Request, features: Features) -> Any:
    if request.guide is None:
        return None
    kind, text = request.guide
    if not features.guides:
        raise RequestError("guided_decoding_guide_type", "guided_decoding_backend is not set for this model")
    name = GUIDE_FIELDS.get(kind, "")
    if name not in features.guides:
        known = ", ".join(kind for kind, field in GUIDE_FIELDS.items() if field in features.guides)
        raise RequestError("guided_decoding_guide_type", f"{kind!r} is not one of {known}")
    if kind == "json":
        return features.guided_decoding_params(json_object=True)
    if not text:
        raise RequestError("guided_decoding_guide", "is needed")
    if len(text) > MAX_GUIDE:
        raise RequestError("guided_decoding_guide", f"at most {MAX_GUIDE} characters, not {len(text)}")
    if kind in ("json_schema", "structural_tag"):
        _check_json(text)
    return features.guided_decoding_params(**{name: text})


def _check_json(text: str) -> None:
    """Fails here and at once, with the tensor's name, and not within the engine, in its words."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError("guided_decoding_guide", f"is not JSON: {error}") from None
    if not isinstance(content, dict | bool):
        raise RequestError("guided_decoding_guide", "must be a JSON object")
