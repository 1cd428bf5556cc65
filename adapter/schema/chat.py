"""The body of `POST /v1/chat/completions`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from adapter.errors import invalid_request
from adapter.generation.sampling import Guide, Sampling
from adapter.schema.body import RequestModel, check
from adapter.schema.chat_messages import Message
from adapter.schema.logit_bias import LogitBias
from adapter.schema.metadata import Metadata
from adapter.schema.unsupported import CHAT_COMPLETIONS, refuse_unsupported, unsupported_parameter

_MOST_MESSAGES = 16_384
_MOST_STOPS = 16
# TensorRT-LLM's grammar compiler takes properties that are not named for forbidden unless this says otherwise.
_ANY_OBJECT = '{"type":"object","additionalProperties":true}'

Penalty = Annotated[float, Field(ge=-2, le=2)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
StopString = Annotated[str, Field(min_length=1, max_length=1024)]


class TextFormat(RequestModel):
    type: Literal["text"]


class JSONObjectFormat(RequestModel):
    type: Literal["json_object"]


class JSONSchema(RequestModel):
    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class JSONSchemaFormat(RequestModel):
    type: Literal["json_schema"]
    json_schema: JSONSchema


ResponseFormat = Annotated[TextFormat | JSONObjectFormat | JSONSchemaFormat, Field(discriminator="type")]


class StreamOptions(RequestModel):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatCompletionRequest(RequestModel):
    """Fields as OpenAI's API defines them; defaults of temperature and top_p are the reference service's."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=_MOST_MESSAGES, fail_fast=True)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.7
    top_p: Annotated[float, Field(ge=0, le=1)] | None = 1.0
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=_MOST_STOPS, fail_fast=True)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: Metadata = None

    @property
    def stops(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


def parse_chat_request(body: dict[str, Any]) -> ChatCompletionRequest:
    """Raises APIError, 400, naming the field."""
    request = check(ChatCompletionRequest, refuse_unsupported(body, CHAT_COMPLETIONS))
    if request.stream_options is not None and not request.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise invalid_request(message, "stream_options")
    if request.stream_options is not None and request.stream_options.include_obfuscation:
        raise unsupported_parameter("stream_options.include_obfuscation", "Chunks are not padded: leave it out.")
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise invalid_request(message, "max_tokens", "invalid_parameter_combination")
    if request.top_logprobs and not request.logprobs:
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        raise invalid_request(message, "top_logprobs")
    return request


def sampling_of(request: ChatCompletionRequest) -> Sampling:
    """The request's wishes for the engine; null means the default."""
    return Sampling(
        temperature=0.7 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        max_tokens=request.max_completion_tokens or request.max_tokens,
        stop=request.stops,
        seed=request.seed,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        logit_bias=request.logit_bias or {},
        logprobs=bool(request.logprobs),
        top_logprobs=request.top_logprobs or 0,
        guide=_guide(request.response_format),
    )


def _guide(wanted: TextFormat | JSONObjectFormat | JSONSchemaFormat | None) -> Guide | None:
    if isinstance(wanted, JSONSchemaFormat):
        schema = wanted.json_schema.schema_
        return Guide("json_schema", _schema_text(schema) if schema else _ANY_OBJECT, "response_format")
    if isinstance(wanted, JSONObjectFormat):
        return Guide("json_schema", _ANY_OBJECT, "response_format")
    return None


def _schema_text(schema: dict[str, Any]) -> str:
    try:
        return orjson.dumps(schema).decode()
    except TypeError as error:  # what orjson reads is deeper than what it writes
        param = "response_format.json_schema.schema"
        raise invalid_request(f"Invalid '{param}': the schema is nested too deeply.", param, "invalid_value") from error
