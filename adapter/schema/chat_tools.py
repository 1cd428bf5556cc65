"""Tools, `tool_choice`, and their older forms `functions` and `function_call`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.errors import invalid_request
from adapter.generation.tool_use import ToolUse
from adapter.parsing.tool_format import Tool
from adapter.schema.body import RequestModel
from adapter.schema.tool_choice import ANY_TOOL, NO_TOOL, Selection, Selector, choose_tools
from adapter.schema.tool_definitions import MOST_TOOLS, GrammarText, ToolName, custom_tool


class FunctionDefinition(RequestModel):
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(RequestModel):
    type: Literal["function"]
    function: FunctionDefinition


class TextInput(RequestModel):
    type: Literal["text"]


class Grammar(RequestModel):
    definition: GrammarText
    syntax: Literal["lark", "regex"]


class GrammarInput(RequestModel):
    type: Literal["grammar"]
    grammar: Grammar


class CustomDefinition(RequestModel):
    name: ToolName
    description: str | None = None
    format: Annotated[TextInput | GrammarInput, Field(discriminator="type")] | None = None


class CustomTool(RequestModel):
    type: Literal["custom"]
    custom: CustomDefinition


ChatTool = Annotated[FunctionTool | CustomTool, Field(discriminator="type")]
Tools = Annotated[list[ChatTool], Field(max_length=MOST_TOOLS, fail_fast=True)]


class Named(RequestModel):
    name: str


class FunctionChoice(RequestModel):
    type: Literal["function"]
    function: Named


class CustomChoice(RequestModel):
    type: Literal["custom"]
    custom: Named


class AllowedTools(RequestModel):
    mode: Literal["auto", "required"]
    tools: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_TOOLS)]


class AllowedToolsChoice(RequestModel):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[FunctionChoice | CustomChoice | AllowedToolsChoice, Field(discriminator="type")]
)


class LegacyFunction(RequestModel):
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None


Functions = Annotated[list[LegacyFunction], Field(min_length=1, max_length=MOST_TOOLS, fail_fast=True)]
FunctionCallChoice = Literal["none", "auto"] | Named


def tool_use(
    tools: list[FunctionTool | CustomTool] | None,
    choice: Any,
    parallel: bool | None,
    functions: list[LegacyFunction] | None,
    function_call: Any,
) -> ToolUse | None:
    """What the request's fields come to; None when the model is not to call anything.

    Raises:
        APIError: 400, naming the field.
    """
    if functions is not None:
        if tools:
            raise invalid_request("'functions' and 'tools' exclude each other: leave out 'functions'.", "functions")
        named = {item.name: (_function_tool(item), f"functions[{at}]") for at, item in enumerate(functions)}
        _check_names(named, len(functions), "functions")
        selection = _selection(function_call)
        return choose_tools(named, frozenset(), selection, None, "function_call", where="functions", legacy=True)
    if function_call not in (None, "none", "auto"):
        raise invalid_request("'function_call' is only allowed when 'functions' are specified.", "function_call")
    if not tools:
        if choice not in (None, "none", "auto"):
            raise invalid_request("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
        if parallel is not None and tools is None:
            raise invalid_request(
                "'parallel_tool_calls' is only allowed when 'tools' are specified.", "parallel_tool_calls"
            )
        return None
    named = {_name(item): (_tool(item, at), f"tools[{at}].{item.type}") for at, item in enumerate(tools)}
    _check_names(named, len(tools), "tools")
    custom = frozenset(item.custom.name for item in tools if isinstance(item, CustomTool))
    return choose_tools(named, custom, _selection(choice), parallel, "tool_choice")


def _check_names(named: Mapping[str, Any], count: int, where: str) -> None:
    if len(named) < count:
        raise invalid_request(f"Invalid '{where}': every tool needs a name of its own.", where, "invalid_value")


def _selection(choice: Any) -> Selection:
    if choice is None or choice == "auto":
        return ANY_TOOL
    if choice == "none":
        return NO_TOOL
    if choice == "required":
        return Selection(demanded=True)
    if isinstance(choice, AllowedToolsChoice):
        selectors = tuple(_allowed(item, at) for at, item in enumerate(choice.allowed_tools.tools))
        return Selection(demanded=choice.allowed_tools.mode == "required", only=selectors, hides=True)
    if isinstance(choice, FunctionChoice):
        selector = Selector("function", choice.function.name)
    elif isinstance(choice, CustomChoice):
        selector = Selector("custom", choice.custom.name)
    else:
        selector = Selector("function", choice.name)
    return Selection(demanded=True, only=(selector,))


def _name(item: FunctionTool | CustomTool) -> str:
    return item.function.name if isinstance(item, FunctionTool) else item.custom.name


def _allowed(item: dict[str, Any], at: int) -> Selector:
    kind = item.get("type")
    inner = item.get(kind) if isinstance(kind, str) else None
    name = inner.get("name") if isinstance(inner, dict) else item.get("name")
    if kind not in ("function", "custom") or not isinstance(name, str):
        place = f"tool_choice.allowed_tools.tools[{at}]"
        raise invalid_request(
            f"Invalid '{place}': an object such as {{'type': 'function', 'function': {{'name': ...}}}} is expected.",
            place,
            "invalid_value",
        )
    return Selector(kind, name)


def _tool(item: FunctionTool | CustomTool, at: int) -> Tool:
    if isinstance(item, FunctionTool):
        definition = item.function
        return Tool(
            definition.name, definition.description or "", definition.parameters or {}, strict=bool(definition.strict)
        )
    custom = item.custom
    grammar = custom.format.grammar if isinstance(custom.format, GrammarInput) else None
    written = (grammar.syntax, grammar.definition) if grammar is not None else None
    return custom_tool(custom.name, custom.description, written, f"tools[{at}].custom.format.grammar")


def _function_tool(item: LegacyFunction) -> Tool:
    return Tool(item.name, item.description or "", item.parameters or {})
