"""Input items of the Responses API.

What this API returns as output items is taken back unchanged: clients send the output of one response with the input of
the next.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.schema.body import RequestModel, check
from adapter.schema.response_parts import (
    InputParts,
    ObjectID,
    OutputParts,
    ReasoningText,
    SummaryText,
    complete_part,
)
from adapter.schema.typed_objects import check_typed, object_of
from adapter.schema.unsupported import refused
from adapter.schema.violations import wrong_type

Item = dict[str, Any]

MOST_ITEMS = 16_384
_MOST_TEXTS = 1024
_MOST_TOOLS = 1024
_MOST_RESULTS = 1024

Status = Literal["in_progress", "completed", "incomplete"] | None
_SearchStatus = Literal["in_progress", "searching", "completed", "incomplete", "failed"] | None
_Phase = Literal["commentary", "final_answer"] | None
_Name = Annotated[str, Field(min_length=1, max_length=256)]
_Objects = Annotated[list[dict[str, Any]], Field(max_length=_MOST_RESULTS, fail_fast=True)]

_Namespace = Annotated[Any, refused("There are no namespaces of tools here: leave it out.")]
_Caller = Annotated[Any, refused("Only the model calls tools here: leave it out.", {"type": "direct"})]
_Async = Annotated[Any, refused("Calls are not asynchronous here: leave it out.", False)]


class InputMessage(RequestModel):
    """A message of the user or the developer. Its `role` lists all roles, for the error that names them."""

    type: Literal["message"] | None = None
    id: ObjectID | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: str | InputParts
    status: Status = None


class AssistantMessage(RequestModel):
    type: Literal["message"] | None = None
    id: ObjectID | None = None
    role: Literal["assistant"]
    content: str | OutputParts
    status: Status = None
    phase: _Phase = None


class FunctionCall(RequestModel):
    type: Literal["function_call"]
    id: ObjectID | None = None
    call_id: ObjectID
    name: _Name
    arguments: str
    status: Status = None
    namespace: _Namespace = None
    caller: _Caller = None
    async_: Annotated[_Async, Field(alias="async")] = None
    created_by: str | None = None


class FunctionCallOutput(RequestModel):
    """`name`: of the function; the call has it, so it changes nothing."""

    type: Literal["function_call_output"]
    id: ObjectID | None = None
    call_id: ObjectID
    output: str | InputParts
    status: Status = None
    name: str | None = None
    namespace: _Namespace = None
    caller: _Caller = None
    created_by: str | None = None


class CustomToolCall(RequestModel):
    type: Literal["custom_tool_call"]
    id: ObjectID | None = None
    call_id: ObjectID
    name: _Name
    input: str
    status: Status = None
    namespace: _Namespace = None
    caller: _Caller = None
    async_: Annotated[_Async, Field(alias="async")] = None
    created_by: str | None = None


class CustomToolCallOutput(RequestModel):
    type: Literal["custom_tool_call_output"]
    id: ObjectID | None = None
    call_id: ObjectID
    output: str | InputParts
    status: Status = None
    caller: _Caller = None
    created_by: str | None = None


class Reasoning(RequestModel):
    type: Literal["reasoning"]
    id: ObjectID | None = None
    summary: Annotated[list[SummaryText], Field(max_length=_MOST_TEXTS, fail_fast=True)]
    content: Annotated[list[ReasoningText], Field(max_length=_MOST_TEXTS, fail_fast=True)] | None = None
    encrypted_content: str | None = None
    status: Status = None


class ItemReference(RequestModel):
    type: Literal["item_reference"] | None = None
    id: ObjectID


class Compaction(RequestModel):
    type: Literal["compaction"]
    id: ObjectID | None = None
    encrypted_content: Annotated[str, Field(min_length=1)]
    created_by: str | None = None


class McpListedTool(RequestModel):
    name: _Name
    description: str | None = None
    input_schema: Any
    annotations: Any = None


class McpListTools(RequestModel):
    type: Literal["mcp_list_tools"]
    id: ObjectID
    server_label: _Name
    tools: Annotated[list[McpListedTool], Field(max_length=_MOST_TOOLS, fail_fast=True)]
    error: str | dict[str, Any] | None = None


class McpCall(RequestModel):
    type: Literal["mcp_call"]
    id: ObjectID
    server_label: _Name
    name: _Name
    arguments: str
    output: str | None = None
    error: str | dict[str, Any] | None = None
    approval_request_id: ObjectID | None = None
    status: Literal["in_progress", "completed", "incomplete", "calling", "failed"] | None = None


class McpApprovalRequest(RequestModel):
    type: Literal["mcp_approval_request"]
    id: ObjectID
    server_label: _Name
    name: _Name
    arguments: str


class McpApprovalResponse(RequestModel):
    type: Literal["mcp_approval_response"]
    id: ObjectID | None = None
    approval_request_id: ObjectID
    approve: bool
    reason: str | None = None


class FileSearchCall(RequestModel):
    type: Literal["file_search_call"]
    id: ObjectID
    queries: Annotated[list[str], Field(max_length=_MOST_TEXTS, fail_fast=True)]
    results: _Objects | None = None
    status: _SearchStatus = None


class WebSearchCall(RequestModel):
    type: Literal["web_search_call"]
    id: ObjectID
    action: dict[str, Any] | None = None
    results: _Objects | None = None
    status: _SearchStatus = None


ITEM_KINDS: Mapping[str, type[RequestModel]] = {
    "message": InputMessage,
    "function_call": FunctionCall,
    "function_call_output": FunctionCallOutput,
    "custom_tool_call": CustomToolCall,
    "custom_tool_call_output": CustomToolCallOutput,
    "reasoning": Reasoning,
    "item_reference": ItemReference,
    "compaction": Compaction,
    "mcp_list_tools": McpListTools,
    "mcp_call": McpCall,
    "mcp_approval_request": McpApprovalRequest,
    "mcp_approval_response": McpApprovalResponse,
    "file_search_call": FileSearchCall,
    "web_search_call": WebSearchCall,
}
"""By type. A message of the assistant is an AssistantMessage."""

InputItem = Annotated[dict[str, Any], object_of(ITEM_KINDS)]
ItemList = Annotated[list[InputItem], Field(max_length=MOST_ITEMS, fail_fast=True)]

_NO_TOOL = "The tool that it belongs to is not served here: leave it out, or tell what it did in a message."

REFUSED_ITEMS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("computer_call", "computer_call_output", "image_generation_call", "code_interpreter_call"),
            *("local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output"),
            *("apply_patch_call", "apply_patch_call_output", "tool_search_call", "tool_search_output"),
            *("program", "program_output"),
        ),
        _NO_TOOL,
    ),
    "additional_tools": "Send all tools in 'tools'.",
    "compaction_trigger": "Compact the input with /v1/responses/compact.",
    "configuration_update": "Send 'reasoning' and 'text' with the request.",
}

_PREFIXES = {
    "message": "msg_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "custom_tool_call": "ctc_",
    "custom_tool_call_output": "ctco_",
    "reasoning": "rs_",
    "compaction": "cmp_",
    "mcp_approval_response": "mcpa_",
}
_WITHOUT_STATUS = frozenset(
    {
        *("item_reference", "compaction", "mcp_list_tools"),
        *("mcp_approval_request", "mcp_approval_response"),
    }
)


def check_item(item: Any, place: str) -> None:
    """Args:
        place: where it stands in the body, such as `input[0]`.

    Raises:
        APIError: 400, naming the field.
    """
    if not isinstance(item, dict):
        raise wrong_type(place, "an object", item)
    kind = _kind(item)
    if kind == "message":
        check(AssistantMessage if item.get("role") == "assistant" else InputMessage, item, place)
    elif kind == "item_reference":
        check(ItemReference, item, place)
    else:
        check_typed(item, place, ITEM_KINDS, REFUSED_ITEMS)


def check_items(items: Sequence[Any], param: str) -> None:
    """Raises APIError, 400, naming the field."""
    for index, item in enumerate(items):
        check_item(item, f"{param}[{index}]")


def input_items(given: str | Sequence[Item] | None) -> list[Item]:
    """Checked items in wire form, as the API shows them: with `type`, `id` and `status`, and content as parts.

    References stay as they are.
    """
    if given is None:
        return []
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return [_wire_item(item) for item in given]


def _kind(item: Item) -> Any:
    """Two kinds may come without a type: messages, which have a role, and references, which have an id only."""
    kind = item.get("type")
    if kind is not None:
        return kind
    return "item_reference" if "id" in item and "role" not in item and "content" not in item else "message"


def _wire_item(item: Item) -> Item:
    kind = _kind(item)
    if kind == "item_reference":
        return {"type": kind, "id": item["id"]}
    wire = {**item, "type": kind, "id": item.get("id") or _PREFIXES[kind] + secrets.token_hex(16)}
    if kind not in _WITHOUT_STATUS:
        wire["status"] = item.get("status") or "completed"
    if kind == "message":
        wire["content"] = _parts(item["content"], item["role"])
    elif kind in ("function_call_output", "custom_tool_call_output") and isinstance(item["output"], list):
        wire["output"] = [complete_part(part) for part in item["output"]]
    elif kind == "mcp_call":
        wire = {"output": None, "error": None, "approval_request_id": None, **wire}
    return wire


def _parts(content: str | list[Item], role: str) -> list[Item]:
    """The assistant's text is output, in whichever form it came."""
    text_type = "output_text" if role == "assistant" else "input_text"
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    return [
        complete_part({"type": text_type, "text": part["text"]} if part["type"] == "input_text" else part)
        for part in parts
    ]
