"""What a request asks of the engine, and the tensors that carry it."""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tritonclient.grpc import service_pb2 as pb

from adapter.errors import APIError, invalid_request
from adapter.triton.model import ServedModel
from adapter.triton.tensors import RequestBuilder

# A bias of -100 or 100 has to ban or force a token (OpenAI's API reference); logits of real models stay far below this.
_FORCE = 1.0e4


@dataclass(frozen=True)
class Guide:
    """A constraint on the answer. `type` is one of TensorRT-LLM's guide types, `text` its schema or grammar.

    param: the request field it comes from, for errors.
    """

    type: str
    text: str
    param: str


@dataclass(frozen=True)
class Sampling:
    """How to generate, in OpenAI's terms; None: left to the engine.

    max_tokens: upper bound of new tokens; None: what the context still holds. 0 only with `prompt_logprobs`.
    stop: strings before which the answer ends.
    logit_bias: token id -> -100 to 100.
    bad_words: texts that the answer must not hold, each as its possible tokens.
    prompt_logprobs: log probabilities of the prompt's tokens are wanted too.
    top_logprobs_param: the request's field that asks for `top_logprobs`, for errors.
    cache_scope: requests of other scopes share no cached prompts with this one.
    media: encoded images and audio, in the order of the -1 in the prompt.
    """

    temperature: float
    top_p: float
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: bool = False
    top_logprobs: int = 0
    guide: Guide | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int | None = None
    ignore_eos: bool = False
    bad_words: tuple[str, ...] = ()
    prompt_logprobs: bool = False
    top_logprobs_param: str = "top_logprobs"
    cache_scope: str = ""
    media: tuple[bytes, ...] = ()


def output_budget(model: ServedModel, prompt_tokens: int, wanted: int | None, param: str) -> int:
    """How many tokens the engine may generate.

    Args:
        param: the request's field that holds the prompt.

    Raises:
        APIError: 400 `context_length_exceeded`, with the counts.
    """
    room = model.context_length - prompt_tokens
    if wanted is None and room > 0:
        return room
    if wanted is not None and wanted <= room:
        return wanted
    limit = f"This model's maximum context length is {model.context_length} tokens."
    if wanted is None:
        found = f"However, your {param} resulted in {prompt_tokens} tokens."
    else:
        total = prompt_tokens + wanted
        found = f"However, you requested {total} tokens ({prompt_tokens} in the {param}, {wanted} in the completion)."
    mend = f"Please reduce the length of the {param}" + ("." if wanted is None else " or completion.")
    raise invalid_request(f"{limit} {found} {mend}", param, "context_length_exceeded")


def build_request(
    model: ServedModel, request_id: str, prompt: Sequence[int], sampling: Sampling, max_tokens: int, *, streaming: bool
) -> pb.ModelInferRequest:
    """The engine's request: only tensors that the model declares.

    Raises:
        APIError: 400, a parameter needs a tensor that the model does not declare.
    """
    tensors = _Declared(model, request_id)
    tensors.builder.int32s("input_ids", prompt)
    tensors.builder.int32("input_lengths", len(prompt))
    tensors.builder.int32("request_output_len", max_tokens)
    if tensors.has("streaming"):
        tensors.builder.boolean("streaming", streaming)
    if tensors.has("exclude_input_in_output"):
        tensors.builder.boolean("exclude_input_in_output", True)
    _end_tokens(tensors, model, ignore=sampling.ignore_eos)
    _randomness(tensors, sampling)
    _penalties(tensors, sampling)
    _endings(tensors, sampling)
    if sampling.logit_bias:
        tensors.need("embedding_bias", "logit_bias")
        tensors.builder.fp32s("embedding_bias", _dense_bias(sampling.logit_bias, model.vocab_size))
    if sampling.guide is not None:
        tensors.need("guided_decoding_guide_type", sampling.guide.param)
        tensors.builder.string("guided_decoding_guide_type", sampling.guide.type)
        tensors.builder.string("guided_decoding_guide", sampling.guide.text)
    if sampling.logprobs:
        tensors.need("return_log_probs", "logprobs")
        tensors.builder.boolean("return_log_probs", True)
    if sampling.top_logprobs:
        tensors.need("top_logprobs", sampling.top_logprobs_param)
        tensors.builder.int32("top_logprobs", sampling.top_logprobs)
    if sampling.prompt_logprobs:
        tensors.need("return_prompt_log_probs", "echo")
        tensors.builder.boolean("return_prompt_log_probs", True)
    if sampling.media:
        tensors.builder.byte_strings("media", sampling.media)
    if model.lora_task_id:
        tensors.builder.uint64("lora_task_id", model.lora_task_id)
    if sampling.cache_scope and tensors.has("cache_scope"):
        tensors.builder.string("cache_scope", sampling.cache_scope)
    tensors.builder.outputs(_outputs(model, sampling))
    return tensors.builder.message


_MAX_TOKENS = {"messages": "max_completion_tokens", "prompt": "max_tokens", "input": "max_output_tokens"}


def request_fields(sampling: Sampling, prompt_param: str) -> dict[str, str]:
    """Tensor -> the field of the client's request that it carries: what an engine's complaint is about."""
    guide = sampling.guide.param if sampling.guide is not None else "response_format"
    return {
        "input_ids": prompt_param,
        "input_lengths": prompt_param,
        "request_output_len": _MAX_TOKENS[prompt_param],
        "runtime_top_k": "top_k",
        "min_p": "min_p",
        "repetition_penalty": "repetition_penalty",
        "min_tokens": "min_tokens",
        "ignore_eos": "ignore_eos",
        "bad_words_list": "bad_words",
        "media": prompt_param,
        "temperature": "temperature",
        "runtime_top_p": "top_p",
        "seed": "seed",
        "presence_penalty": "presence_penalty",
        "frequency_penalty": "frequency_penalty",
        "embedding_bias": "logit_bias",
        "return_log_probs": "logprobs",
        "top_logprobs": sampling.top_logprobs_param,
        "return_prompt_log_probs": "echo",
        "lora_task_id": "model",
        "guided_decoding_guide_type": guide,
        "guided_decoding_guide": guide,
    }


class _Declared:
    """A request builder that knows which inputs the model declares."""

    def __init__(self, model: ServedModel, request_id: str) -> None:
        self.model = model
        self.builder = RequestBuilder(model.triton_name, request_id, batched=model.batched)

    def has(self, tensor: str) -> bool:
        return tensor in self.model.inputs

    def need(self, tensor: str, param: str) -> None:
        if tensor not in self.model.inputs:
            raise unsupported_by_engine(self.model, param, tensor)


def unsupported_by_engine(model: ServedModel, param: str, tensor: str) -> APIError:
    """400: the engine behind the model does not declare the tensor that would carry the parameter."""
    return invalid_request(
        f"The model `{model.id}` does not support `{param}`: its engine declares no tensor `{tensor}`. "
        f"Leave it out, or use a model whose engine has it.",
        param,
        "unsupported_parameter",
    )


def _end_tokens(tensors: _Declared, model: ServedModel, *, ignore: bool) -> None:
    if not model.end_ids or ignore:
        return
    first, further = model.end_ids[0], model.end_ids[1:]
    if tensors.has("end_id"):
        tensors.builder.int32("end_id", first)
    else:
        further = model.end_ids
    if further and tensors.has("stop_token_ids"):
        tensors.builder.int32s("stop_token_ids", further)
    elif further and tensors.has("stop_words_list"):
        tensors.builder.word_list("stop_words_list", [[token] for token in further])


def _penalties(tensors: _Declared, sampling: Sampling) -> None:
    for name, value, neutral in (
        ("presence_penalty", sampling.presence_penalty, 0.0),
        ("frequency_penalty", sampling.frequency_penalty, 0.0),
        ("repetition_penalty", sampling.repetition_penalty, 1.0),
        ("min_p", sampling.min_p, 0.0),
    ):
        if value is not None and value != neutral:
            tensors.need(name, name)
            tensors.builder.fp32(name, value)


def _endings(tensors: _Declared, sampling: Sampling) -> None:
    if sampling.min_tokens:
        tensors.need("min_tokens", "min_tokens")
        tensors.builder.int32("min_tokens", sampling.min_tokens)
    if sampling.ignore_eos:
        tensors.need("ignore_eos", "ignore_eos")
        tensors.builder.boolean("ignore_eos", True)
    if sampling.bad_words:
        tensors.need("bad_words_list", "bad_words")
        encode = tensors.model.tokenizer.encode
        # A word has other tokens after a space than at the start of a text.
        words = [encode(form) for word in sampling.bad_words for form in (word, " " + word.lstrip(" "))]
        tensors.builder.word_list("bad_words_list", [word for word in words if word])


def _randomness(tensors: _Declared, sampling: Sampling) -> None:
    """Temperature, top-p and seed.

    Greedy is said as top-k 1: that is what every engine takes for it, while a temperature or a top-p of 0 is an error
    to some. TensorRT-LLM's own seed is the same for all requests, so one is drawn here; an engine that draws its own is
    left to it, and knows from the seed's absence that nobody asked for the same answer twice.
    """
    greedy = sampling.temperature == 0 or sampling.top_p == 0
    values = {
        "temperature": 1.0 if greedy else sampling.temperature,
        "runtime_top_p": 1.0 if greedy else sampling.top_p,
    }
    for name, value in values.items():
        if tensors.has(name):
            tensors.builder.fp32(name, value)
        elif value != 1.0:
            tensors.need(name, "temperature" if name == "temperature" else "top_p")
    if tensors.has("runtime_top_k"):
        tensors.builder.int32("runtime_top_k", 1 if greedy else sampling.top_k or 0)
    elif greedy:
        tensors.need("runtime_top_k", "temperature" if sampling.temperature == 0 else "top_p")
    elif sampling.top_k:
        tensors.need("runtime_top_k", "top_k")
    if sampling.seed is not None:
        tensors.need("seed", "seed")
        tensors.builder.uint64("seed", sampling.seed % 2**64)
    elif tensors.has("seed") and not tensors.model.draws_seed:
        tensors.builder.uint64("seed", secrets.randbits(32))


def _dense_bias(bias: Mapping[int, float], vocab_size: int) -> array[float]:
    values = array("f", bytes(4 * vocab_size))
    for token, value in bias.items():
        if not 0 <= token < vocab_size:
            raise invalid_request(
                f"Invalid key in 'logit_bias': {token} is not a token of this model, which has {vocab_size} tokens.",
                "logit_bias",
                "invalid_value",
            )
        values[token] = value if abs(value) < 100 else (_FORCE if value > 0 else -_FORCE)
    return values


def _outputs(model: ServedModel, sampling: Sampling) -> list[str]:
    """TensorRT-LLM's backend wants the first two asked for in every request."""
    wanted = ["output_ids", "sequence_length", "finish_reason", "cached_tokens"]
    if sampling.media:
        wanted.append("prompt_tokens")
    if sampling.logprobs:
        wanted.append("output_log_probs")
    if sampling.top_logprobs:
        wanted += ["top_token_ids", "top_log_probs"]
    if sampling.prompt_logprobs:
        wanted.append("prompt_log_probs")
        if sampling.top_logprobs:
            wanted += ["prompt_top_token_ids", "prompt_top_log_probs"]
    return [name for name in wanted if name in model.outputs]
