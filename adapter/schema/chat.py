"""The body of `POST /v1/chat/completions`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.errors import invalid_request
from adapter.generation.sampling import Sampling
from adapter.generation.tool_use import ToolUse
from adapter.schema import sampling_fields as fields
from adapter.schema.answer_formats import ANY_OBJECT, FormatName, JSONObjectFormat, TextFormat
from adapter.schema.body import RequestModel, check
from adapter.schema.chat_messages import Messages
from adapter.schema.chat_tools import FunctionCallChoice, Functions, ToolChoice, Tools, tool_use
from adapter.schema.logit_bias import LogitBias
from adapter.schema.metadata import Metadata
from adapter.schema.stream_options import StreamOptions
from adapter.schema.unsupported import CHAT_COMPLETIONS, refuse_unsupported
from adapter.schema.verbosity import Verbosity


class JSONSchema(RequestModel):
    name: FormatName
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class JSONSchemaFormat(RequestModel):
    type: Literal["json_schema"]
    json_schema: JSONSchema


ResponseFormat = Annotated[TextFormat | JSONObjectFormat | JSONSchemaFormat, Field(discriminator="type")]


class ChatCompletionRequest(RequestModel):
    """Fields as OpenAI's API defines them; defaults of temperature and top_p are the reference service's.

    The last group are extensions, named as other servers of open models name them.
    """

    model: str
    messages: Messages
    temperature: fields.Temperature | None = 0.7
    top_p: fields.Fraction | None = 1.0
    max_tokens: fields.Count | None = None
    max_completion_tokens: fields.Count | None = None
    n: fields.Choices | None = None
    stop: fields.Stop | None = None
    seed: fields.Seed | None = None
    presence_penalty: fields.Penalty | None = None
    frequency_penalty: fields.Penalty | None = None
    logit_bias: LogitBias = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Functions | None = None
    function_call: FunctionCallChoice | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    service_tier: Literal["auto", "default"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: Metadata = None
    store: bool | None = None
    verbosity: Verbosity | None = None

    top_k: fields.TopK | None = None
    min_p: fields.Fraction | None = None
    repetition_penalty: fields.RepetitionPenalty | None = None
    min_tokens: fields.MinTokens | None = None
    ignore_eos: bool | None = None
    bad_words: fields.BadWords | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    def tool_use(self) -> ToolUse | None:
        """Raises APIError, 400, naming the field."""
        return tool_use(self.tools, self.tool_choice, self.parallel_tool_calls, self.functions, self.function_call)

    @property
    def answer_schema(self) -> dict[str, Any] | None:
        """The JSON schema that `response_format` holds the answer to; None for text."""
        if isinstance(self.response_format, JSONSchemaFormat):
            return self.response_format.json_schema.schema_ or ANY_OBJECT
        return ANY_OBJECT if isinstance(self.response_format, JSONObjectFormat) else None


def parse_chat_request(body: dict[str, Any]) -> ChatCompletionRequest:
    """Raises APIError, 400, naming the field."""
    request = check(ChatCompletionRequest, refuse_unsupported(body, CHAT_COMPLETIONS))
    if request.stream_options is not None and not request.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise invalid_request(message, "stream_options")
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise invalid_request(message, "max_tokens", "invalid_parameter_combination")
    if request.top_logprobs and not request.logprobs:
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        raise invalid_request(message, "top_logprobs")
    if request.continue_final_message:
        if request.add_generation_prompt:
            message = "'continue_final_message' goes on with the last message: 'add_generation_prompt' cannot be true."
            raise invalid_request(message, "add_generation_prompt", "invalid_parameter_combination")
        if request.messages[-1].role != "assistant":
            message = "'continue_final_message' needs a last message whose role is 'assistant'."
            raise invalid_request(message, "continue_final_message", "invalid_parameter_combination")
    return request


def sampling_of(request: ChatCompletionRequest) -> Sampling:
    """The request's wishes for the engine, but for its guide; null means the default."""
    return Sampling(
        temperature=0.7 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        max_tokens=request.max_completion_tokens or request.max_tokens,
        stop=fields.strings_of(request.stop),
        seed=request.seed,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        logit_bias=request.logit_bias or {},
        logprobs=bool(request.logprobs),
        top_logprobs=request.top_logprobs or 0,
        top_k=max(request.top_k or 0, 0),
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty,
        min_tokens=request.min_tokens,
        ignore_eos=bool(request.ignore_eos),
        bad_words=tuple(request.bad_words or ()),
    )
