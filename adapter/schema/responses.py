"""The body of `POST /v1/responses`, and of the endpoints that take a part of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.errors import invalid_request
from adapter.generation.sampling import Sampling
from adapter.schema import sampling_fields as fields
from adapter.schema.body import RequestModel, check
from adapter.schema.logit_bias import LogitBias
from adapter.schema.metadata import Metadata
from adapter.schema.prompt_reference import PromptReference
from adapter.schema.response_items import ItemList, check_items
from adapter.schema.response_options import ReasoningOptions, ResponseStreamOptions, TextOptions
from adapter.schema.response_parts import ObjectID
from adapter.schema.response_tool_choice import selection_of
from adapter.schema.response_tools import RequestedTools, ToolList, requested_tools
from adapter.schema.tool_choice import Selection
from adapter.schema.unsupported import COMPACT, INPUT_TOKENS, RESPONSES, refuse_unsupported
from adapter.schema.verbosity import Verbosity
from adapter.schema.violations import empty_array

_Include = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
Include = Annotated[list[_Include], Field(max_length=32, fail_fast=True)]
_Key = Annotated[str, Field(max_length=64)]
_Choice = str | dict[str, Any]


class ConversationReference(RequestModel):
    id: ObjectID


class _ModelInput(RequestModel):
    """What the model is to read, and where it goes on from."""

    model: str
    input: str | ItemList | None = None
    instructions: str | None = None
    previous_response_id: ObjectID | None = None


class _Prompted(_ModelInput):
    conversation: ObjectID | ConversationReference | None = None
    tools: ToolList | None = None
    tool_choice: _Choice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningOptions | None = None
    text: TextOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None

    @property
    def conversation_id(self) -> str | None:
        if isinstance(self.conversation, ConversationReference):
            return self.conversation.id
        return self.conversation

    @cached_property
    def requested_tools(self) -> RequestedTools:
        """Raises APIError, 400, naming the field."""
        return requested_tools(self.tools)

    @cached_property
    def selection(self) -> Selection:
        """`tool_choice`. Raises APIError, 400, naming the field."""
        return selection_of(self.tool_choice, self.requested_tools)

    @property
    def answer_schema(self) -> dict[str, Any] | None:
        """The JSON schema that `text.format` holds the answer to; None for text."""
        return self.text.answer_schema if self.text is not None else None

    @property
    def verbosity(self) -> Verbosity:
        return (self.text.verbosity if self.text is not None else None) or "medium"

    @property
    def reasoning_effort(self) -> str | None:
        return self.reasoning.effort if self.reasoning is not None else None


class ResponseRequest(_Prompted):
    """Fields as OpenAI's API defines them; defaults of temperature and top_p are the reference service's.

    The last group are extensions: the first two are Open Responses', the others named as in chat completions.
    """

    background: bool | None = None
    include: Include | None = None
    max_output_tokens: fields.Count | None = None
    max_tool_calls: fields.Count | None = None
    metadata: Metadata = None
    prompt: PromptReference | None = None
    prompt_cache_key: _Key | None = None
    safety_identifier: _Key | None = None
    service_tier: Literal["auto", "default"] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    temperature: fields.Temperature | None = 0.7
    top_p: fields.Fraction | None = 1.0
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    user: str | None = None

    presence_penalty: fields.Penalty | None = None
    frequency_penalty: fields.Penalty | None = None
    seed: fields.Seed | None = None
    stop: fields.Stop | None = None
    logit_bias: LogitBias = None
    top_k: fields.TopK | None = None
    min_p: fields.Fraction | None = None
    repetition_penalty: fields.RepetitionPenalty | None = None
    min_tokens: fields.MinTokens | None = None
    ignore_eos: bool | None = None
    bad_words: fields.BadWords | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @property
    def stored(self) -> bool:
        return self.store is not False

    @property
    def wants_logprobs(self) -> bool:
        """`top_logprobs` alone asks for them too: it could mean nothing else."""
        return bool(self.top_logprobs) or self.includes("message.output_text.logprobs")

    def includes(self, what: str) -> bool:
        return what in (self.include or ())


class InputTokensRequest(_Prompted):
    """The body of `POST /v1/responses/input_tokens`."""


class CompactRequest(_ModelInput):
    """The body of `POST /v1/responses/compact`."""

    prompt_cache_key: _Key | None = None
    service_tier: Literal["auto", "default"] | None = None


def parse_response_request(body: dict[str, Any]) -> ResponseRequest:
    """Raises APIError, 400, naming the field."""
    request = check(ResponseRequest, refuse_unsupported(body, RESPONSES))
    if request.stream_options is not None and not request.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise invalid_request(message, "stream_options")
    if request.background and not request.stored:
        message = "The 'background' parameter is only allowed when 'store' is enabled."
        raise invalid_request(message, "background", "invalid_parameter_combination")
    _check_prompted(request, has_prompt=request.prompt is not None)
    return request


def parse_input_tokens_request(body: dict[str, Any]) -> InputTokensRequest:
    """Raises APIError, 400, naming the field."""
    request = check(InputTokensRequest, refuse_unsupported(body, INPUT_TOKENS))
    _check_prompted(request, has_prompt=False)
    return request


def response_request_of(request: InputTokensRequest) -> ResponseRequest:
    """The request for a response that begins like this one."""
    fields = {name: getattr(request, name) for name in request.model_fields_set}
    return ResponseRequest.model_construct(**fields)


def parse_compact_request(body: dict[str, Any]) -> CompactRequest:
    """Raises APIError, 400, naming the field."""
    request = check(CompactRequest, refuse_unsupported(body, COMPACT))
    _check_input(request, {"previous_response_id": request.previous_response_id})
    return request


def _check_prompted(request: _Prompted, *, has_prompt: bool) -> None:
    if request.previous_response_id is not None and request.conversation is not None:
        message = (
            "Mutually exclusive parameters. Ensure you are only providing one of: 'previous_response_id' or "
            "'conversation'."
        )
        raise invalid_request(message, "previous_response_id", "mutually_exclusive_parameters")
    others: dict[str, Any] = {
        "previous_response_id": request.previous_response_id,
        "conversation": request.conversation,
    }
    if isinstance(request, ResponseRequest):
        others["prompt"] = True if has_prompt else None
    _check_input(request, others)
    assert request.selection is not None  # checks the tools, too


def _check_input(request: _ModelInput, others: Mapping[str, Any]) -> None:
    """There is something to answer, and every item of it is one."""
    alone = all(value is None for value in others.values())
    if alone and request.input == []:
        raise empty_array("input")
    if alone and request.input is None:
        listed = ", ".join(f"'{name}'" for name in others)
        raise invalid_request(
            f"Missing required parameter: 'input'. Without it, one of {listed} is needed.",
            "input",
            "missing_required_parameter",
        )
    if isinstance(request.input, list):
        check_items(request.input, "input")


def response_sampling(request: ResponseRequest, *, logprobs: bool) -> Sampling:
    """The request's wishes for the engine, but for its guide; null means the default."""
    return Sampling(
        temperature=0.7 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        max_tokens=request.max_output_tokens,
        stop=fields.strings_of(request.stop),
        seed=request.seed,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        logit_bias=request.logit_bias or {},
        logprobs=logprobs,
        top_logprobs=(request.top_logprobs or 0) if logprobs else 0,
        top_k=max(request.top_k or 0, 0),
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty,
        min_tokens=request.min_tokens,
        ignore_eos=bool(request.ignore_eos),
        bad_words=tuple(request.bad_words or ()),
    )
