"""Every parameter, item, part and tool of the Responses API that the installed SDK knows is decided upon.

A new one of a new SDK fails here until somebody decides.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from openai.types.conversations.conversation_create_params import ConversationCreateParams
from openai.types.conversations.conversation_update_params import ConversationUpdateParams
from openai.types.conversations.item_create_params import ItemCreateParams
from openai.types.responses import (
    ResponseItem,
    ResponseOutputItem,
    ResponseOutputMessage,
    ResponseOutputRefusal,
    ResponseOutputText,
    file_search_tool_param,
    response_create_params,
    tool_param,
    web_search_preview_tool_param,
    web_search_tool_param,
)
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_compact_params import ResponseCompactParams
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
    StreamOptions,
)
from openai.types.responses.response_includable import ResponseIncludable
from openai.types.responses.response_input_audio_param import ResponseInputAudioParam
from openai.types.responses.response_input_file_content_param import ResponseInputFileContentParam
from openai.types.responses.response_input_file_param import ResponseInputFileParam
from openai.types.responses.response_input_image_param import ResponseInputImageParam
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.response_input_text_param import ResponseInputTextParam
from openai.types.responses.response_output_refusal_param import ResponseOutputRefusalParam
from openai.types.responses.response_output_text_param import ResponseOutputTextParam
from openai.types.responses.response_prompt_param import ResponsePromptParam
from openai.types.responses.response_text_config_param import ResponseTextConfigParam
from openai.types.shared_params.comparison_filter import ComparisonFilter
from openai.types.shared_params.compound_filter import CompoundFilter
from openai.types.shared_params.reasoning import Reasoning
from pydantic import BaseModel
from typing_extensions import get_type_hints  # which takes `Required` off in Python 3.10 too

from adapter.errors import APIError
from adapter.schema import conversations, mcp_tools, response_items, response_options, response_parts, response_tools
from adapter.schema.attribute_filters import attribute_filter
from adapter.schema.body import RequestModel
from adapter.schema.prompt_reference import PromptReference
from adapter.schema.response_items import ITEM_KINDS, REFUSED_ITEMS, check_item
from adapter.schema.response_tool_choice import CHOICE_KINDS, REFUSED_CHOICES
from adapter.schema.response_tools import REFUSED_TOOLS, TOOL_KINDS
from adapter.schema.responses import CompactRequest, InputTokensRequest, ResponseRequest, parse_response_request
from adapter.schema.unsupported import COMPACT, INPUT_TOKENS, RESPONSES

BODY = {"model": "m", "input": "Hi"}

# What each refused field looks like when it asks for something.
ASKING: dict[str, Any] = {
    "access_programs": {"cyber": "standard"},
    "background_options": {"completion_window": "2h"},
    "context_management": [{"type": "compaction", "compact_threshold": 1000}],
    "image": {"context_compression": "enabled"},
    "moderation": {"model": "omni-moderation-latest"},
    "prompt_cache_options": {"mode": "explicit"},
    "prompt_cache_retention": "24h",
}

EXTENSIONS = {
    *("presence_penalty", "frequency_penalty", "seed", "stop", "logit_bias", "top_k", "min_p"),
    *("repetition_penalty", "min_tokens", "ignore_eos", "bad_words", "chat_template_kwargs"),
}


def names(kind: type[RequestModel]) -> set[str]:
    return {field.alias or name for name, field in kind.model_fields.items()}


def keys(kind: Any) -> dict[str, Any]:
    """The fields of a TypedDict, or of a model of the SDK."""
    if issubclass(kind, BaseModel):
        return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    return get_type_hints(kind)


def members(union: Any) -> Iterator[Any]:
    """The types of a union, without what annotates it."""
    if get_origin(union) is Annotated:
        yield from members(get_args(union)[0])
    elif get_origin(union) in (Union, types.UnionType):
        for member in get_args(union):
            yield from members(member)
    elif union is not type(None):
        yield union


def literals(hint: Any) -> set[str]:
    return {value for member in members(hint) if get_origin(member) is Literal for value in get_args(member)}


def typed(union: Any) -> list[tuple[str, Any]]:
    """Each member of a union of objects with each of its types."""
    return [(name, member) for member in members(union) for name in sorted(literals(keys(member)["type"]))]


INPUT_ITEMS, TOOLS = typed(ResponseInputItemParam), typed(tool_param.ToolParam)
OUTPUT_ITEMS = [*typed(ResponseOutputItem), *typed(ResponseItem)]


@pytest.mark.parametrize(
    ("params", "kind", "refused", "extensions"),
    [
        (ResponseCreateParamsNonStreaming, ResponseRequest, RESPONSES, EXTENSIONS),
        (ResponseCreateParamsStreaming, ResponseRequest, RESPONSES, EXTENSIONS),
        (InputTokenCountParams, InputTokensRequest, INPUT_TOKENS, set()),
        (ResponseCompactParams, CompactRequest, COMPACT, set()),
        (ConversationCreateParams, conversations.ConversationCreate, {}, set()),
        (ConversationUpdateParams, conversations.ConversationUpdate, {}, set()),
        (StreamOptions, response_options.ResponseStreamOptions, {}, set()),
        (ResponseTextConfigParam, response_options.TextOptions, {}, set()),
        (Reasoning, response_options.ReasoningOptions, {}, set()),
        (ResponsePromptParam, PromptReference, {}, set()),
        (ResponseInputTextParam, response_parts.InputText, {}, set()),
        (ResponseInputImageParam, response_parts.InputImage, {}, set()),
        (ResponseInputFileParam, response_parts.InputFile, {}, set()),
        (ResponseInputFileContentParam, response_parts.InputFile, {}, set()),
        (ResponseInputAudioParam, response_parts.InputAudio, {}, set()),
        (ResponseOutputTextParam, response_parts.OutputText, {}, set()),
        (ResponseOutputText, response_parts.OutputText, {}, set()),
        (ResponseOutputRefusalParam, response_parts.Refusal, {}, set()),
        (ResponseOutputRefusal, response_parts.Refusal, {}, set()),
        (ResponseOutputMessage, response_items.AssistantMessage, {}, set()),
    ],
)
def test_every_parameter_is_decided_once(
    params: Any, kind: type[RequestModel], refused: dict[str, Any], extensions: set[str]
) -> None:
    assert names(kind) & set(refused) == set()
    assert (names(kind) - extensions) | set(refused) == set(keys(params))
    assert extensions <= names(kind) and not extensions & set(keys(params))


def test_items_of_a_conversation_come_with_what_to_include_in_the_query() -> None:
    assert set(keys(ItemCreateParams)) == names(conversations.ConversationItemsCreate) | {"include"}


def test_open_responses_has_no_other_parameter() -> None:
    open_responses = pytest.importorskip("openresponses_types.types", reason="its types need Python 3.11")
    assert set(open_responses.CreateResponseBody.model_fields) <= names(ResponseRequest)
    assert set(open_responses.CompactResponseMethodPublicBody.model_fields) <= names(CompactRequest)


def test_all_that_can_be_included_is_known() -> None:
    for value in get_args(ResponseIncludable):
        assert parse_response_request({**BODY, "include": [value]}).includes(value)


@pytest.mark.parametrize("name", sorted(RESPONSES))
def test_what_is_refused_is_refused(name: str) -> None:
    with pytest.raises(APIError) as caught:
        parse_response_request({**BODY, name: ASKING[name]})
    error = caught.value
    assert (error.status, error.param, error.code) == (400, name, "unsupported_parameter")
    assert RESPONSES[name].advice in error.message
    parse_response_request({**BODY, name: None})


def test_every_type_of_item_is_decided() -> None:
    known = {name for name, _ in [*INPUT_ITEMS, *OUTPUT_ITEMS]}
    assert len(known) > 25
    assert known - set(ITEM_KINDS) - set(REFUSED_ITEMS) == set()
    assert set(ITEM_KINDS) | set(REFUSED_ITEMS) == {name for name, _ in INPUT_ITEMS}
    assert set(ITEM_KINDS) & set(REFUSED_ITEMS) == set()


@pytest.mark.parametrize(
    ("name", "item"),
    [(name, item) for name, item in [*INPUT_ITEMS, *OUTPUT_ITEMS] if name in ITEM_KINDS],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_field_of_an_item_is_known(name: str, item: Any) -> None:
    fields = keys(item)
    kind = ITEM_KINDS[name]
    if name == "message" and "assistant" in literals(fields["role"]):
        kind = response_items.AssistantMessage
    assert set(fields) - names(kind) == set()


@pytest.mark.parametrize("name", sorted(REFUSED_ITEMS))
def test_refused_items_are_refused_with_advice(name: str) -> None:
    with pytest.raises(APIError) as caught:
        check_item({"type": name, "id": "x"}, "input[3]")
    assert (caught.value.param, caught.value.code) == ("input[3].type", "unsupported_parameter")
    assert REFUSED_ITEMS[name] in caught.value.message


def test_every_type_of_tool_is_decided() -> None:
    known = {name for name, _ in TOOLS}
    assert set(TOOL_KINDS) | set(REFUSED_TOOLS) == known
    assert set(TOOL_KINDS) & set(REFUSED_TOOLS) == set()


@pytest.mark.parametrize(("name", "tool"), [(name, tool) for name, tool in TOOLS if name in TOOL_KINDS])
def test_every_field_of_a_tool_is_known(name: str, tool: Any) -> None:
    assert set(keys(tool)) - names(TOOL_KINDS[name]) == set()


def test_every_tool_choice_is_decided() -> None:
    choices = [member for member in members(response_create_params.ToolChoice) if get_origin(member) is not Literal]
    found = {name: choice for choice in choices for name in literals(keys(choice)["type"])}
    assert len(found) > 10
    assert set(found) - set(CHOICE_KINDS) - set(REFUSED_CHOICES) == set()
    for name, choice in found.items():
        if name in CHOICE_KINDS:
            assert set(keys(choice)) - names(CHOICE_KINDS[name]) == set()


@pytest.mark.parametrize("name", sorted(REFUSED_TOOLS))
def test_refused_tools_are_refused_with_advice(name: str) -> None:
    refused({"tools": [{"type": name}]}, "tools[0].type", REFUSED_TOOLS[name])


@pytest.mark.parametrize("name", sorted(REFUSED_CHOICES))
def test_refused_choices_are_refused_with_advice(name: str) -> None:
    refused({"tool_choice": {"type": name}}, "tool_choice.type", REFUSED_CHOICES[name])


def refused(change: dict[str, Any], param: str, advice: str) -> None:
    with pytest.raises(APIError) as caught:
        parse_response_request({**BODY, **change})
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, "unsupported_parameter")
    assert advice in caught.value.message


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        (file_search_tool_param.RankingOptions, response_tools.RankingOptions),
        (web_search_tool_param.Filters, response_tools.SearchedDomains),
        (web_search_tool_param.UserLocation, response_tools.UserLocation),
        (web_search_preview_tool_param.UserLocation, response_tools.UserLocation),
        (tool_param.McpAllowedToolsMcpToolFilter, mcp_tools.ToolFilter),
        (tool_param.McpRequireApprovalMcpToolApprovalFilter, mcp_tools.ApprovalFilters),
        (tool_param.McpRequireApprovalMcpToolApprovalFilterNever, mcp_tools.ToolFilter),
    ],
)
def test_every_field_within_a_tool_is_known(params: Any, kind: type[RequestModel]) -> None:
    assert set(keys(params)) == names(kind)


def test_every_operator_of_a_filter_is_known() -> None:
    for operator in literals(keys(ComparisonFilter)["type"]):
        value: Any = ["x"] if operator in ("in", "nin") else "x"
        assert attribute_filter({"type": operator, "key": "k", "value": value}, "filters") is not None
    for operator in literals(keys(CompoundFilter)["type"]):
        inner = {"type": "eq", "key": "k", "value": 1}
        assert attribute_filter({"type": operator, "filters": [inner]}, "filters") is not None
