"""Responses and their events, checked with the types of the SDK and of Open Responses, without leniency.

Where the two differ, what differs is written down here: nothing else may.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from typing import Any

import orjson
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

if sys.version_info >= (3, 11):
    from openresponses_types import types as open_responses

_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
# By the SDK's type: fields of Open Responses, and one that the SDK has for the same item where items are listed.
_BEYOND_THE_SDK = {
    "Response": {"store", "presence_penalty", "frequency_penalty"},
    "ResponseTextDeltaEvent": {"obfuscation"},
    "ResponseReasoningTextDeltaEvent": {"obfuscation"},
    "ResponseFunctionCallArgumentsDeltaEvent": {"obfuscation"},
    "ResponseCustomToolCallInputDeltaEvent": {"obfuscation"},
    "ResponseMcpCallArgumentsDeltaEvent": {"obfuscation"},
    "Logprob": {"bytes"},
    "LogprobTopLogprob": {"bytes"},
    "ResponseCustomToolCall": {"status"},
}
_OPEN_ITEMS = ("message", "function_call", "function_call_output", "reasoning", "compaction")
_OPEN_NAMES = {  # what Open Responses calls the SDK's events of reasoning
    "response.reasoning_text.delta": "response.reasoning.delta",
    "response.reasoning_text.done": "response.reasoning.done",
}
_ONLY_THE_SDK_S = (
    "response.custom_tool_call_input.",
    "response.mcp_call.",
    "response.mcp_call_arguments.",
    "response.mcp_list_tools.",
    "response.file_search_call.",
    "response.web_search_call.",
)


def check_response(body: Mapping[str, Any]) -> Response:
    """Raises ValidationError or AssertionError."""
    response = Response.model_validate_json(orjson.dumps(body), strict=True)
    _check_known(response)
    if sys.version_info >= (3, 11):
        open_responses.ResponseResource.model_validate_json(orjson.dumps(_open_response(body)), strict=True)
    return response


def check_event(event: Mapping[str, Any]) -> Any:
    """Raises ValidationError or AssertionError. Returns the SDK's event."""
    checked = _EVENT.validate_json(orjson.dumps(event), strict=True)
    _check_known(checked)
    if sys.version_info >= (3, 11):
        _check_open_event(event)
    return checked


def _check_known(value: Any) -> None:
    if isinstance(value, BaseModel):
        unknown = set(value.model_extra or ()) - _BEYOND_THE_SDK.get(type(value).__name__, set())
        assert not unknown, f"{type(value).__name__} has no {unknown}"
        for name in type(value).model_fields:
            _check_known(getattr(value, name))
    elif isinstance(value, list):
        for one in value:
            _check_known(one)


def _check_open_event(event: Mapping[str, Any]) -> None:
    type_ = _OPEN_NAMES.get(event["type"], event["type"])
    if type_.startswith(_ONLY_THE_SDK_S):
        return
    event = {**copy.deepcopy(dict(event)), "type": type_}
    if "item" in event:
        if event["item"]["type"] not in _OPEN_ITEMS:
            return
        event["item"] = _open_item(event["item"])
    if "annotation" in event and event["annotation"]["type"] != "url_citation":
        return
    if "part" in event:
        event["part"] = _open_part(event["part"])
    if "response" in event:
        event["response"] = _open_response(event["response"])
    _OPEN_EVENTS[type_].model_validate_json(orjson.dumps(event), strict=True)


def _open_response(body: Mapping[str, Any]) -> dict[str, Any]:
    """What Open Responses has types for."""
    body = copy.deepcopy(dict(body))
    body["output"] = [_open_item(item) for item in body["output"] if item["type"] in _OPEN_ITEMS]
    body["tools"] = [tool for tool in body["tools"] if tool["type"] == "function"]
    choice = body["tool_choice"]
    if isinstance(choice, dict) and choice["type"] not in ("function", "allowed_tools"):
        body["tool_choice"] = "auto"
    format_ = body["text"]["format"]
    if format_["type"] == "json_schema":  # whose schema is null by that type, and nothing else
        format_["schema"] = None
    return body


def _open_item(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "content": [_open_part(part) for part in item["content"]]} if "content" in item else item


def _open_part(part: dict[str, Any]) -> dict[str, Any]:
    if "annotations" not in part:
        return part
    return {**part, "annotations": [one for one in part["annotations"] if one["type"] == "url_citation"]}


_OPEN_EVENTS: dict[str, type[BaseModel]] = {}
if sys.version_info >= (3, 11):
    for _kind in vars(open_responses).values():
        if isinstance(_kind, type) and _kind.__name__.endswith("StreamingEvent") and _kind.__name__ != "StreamingEvent":
            (_name,) = _kind.model_fields["type"].annotation
            _OPEN_EVENTS[_name.value] = _kind
