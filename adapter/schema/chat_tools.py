"""Tools, `tool_choice`, and their older forms `functions` and `function_call`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.errors import invalid_request
from adapter.generation.tool_use import ToolUse
from adapter.parsing.custom_input import INPUT_KEY
from adapter.parsing.guides import Choice
from adapter.parsing.tool_format import Tool
from adapter.schema.body import RequestModel

_MOST_TOOLS = 128
_LONGEST_GRAMMAR = 16_384

ToolName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+$")]


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
    definition: Annotated[str, Field(min_length=1, max_length=_LONGEST_GRAMMAR)]
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
Tools = Annotated[list[ChatTool], Field(max_length=_MOST_TOOLS, fail_fast=True)]


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
    tools: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=_MOST_TOOLS)]


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


Functions = Annotated[list[LegacyFunction], Field(min_length=1, max_length=_MOST_TOOLS, fail_fast=True)]
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
        choice, param, where = function_call, "function_call", "functions"
        count, custom = len(functions), frozenset[str]()
    else:
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
        named = {_name(item): (_tool(item, at), f"tools[{at}]") for at, item in enumerate(tools)}
        param, where, count = "tool_choice", "tools", len(tools)
        custom = frozenset(item.custom.name for item in tools if isinstance(item, CustomTool))
    if len(named) < count:
        raise invalid_request(f"Invalid '{where}': every tool needs a name of its own.", where, "invalid_value")
    if choice == "none":
        return None
    told, allowed, demand = set(named), set(named), Choice.AUTO
    if choice == "required":
        demand = Choice.REQUIRED
    elif isinstance(choice, AllowedToolsChoice):
        allowed = {_allowed_name(item, at) for at, item in enumerate(choice.allowed_tools.tools)}
        told = allowed  # what the model does not know, it does not call
        demand = Choice.REQUIRED if choice.allowed_tools.mode == "required" else Choice.AUTO
    elif choice is not None and not isinstance(choice, str):
        allowed, demand = {_chosen_name(choice)}, Choice.NAMED
    for name in allowed - set(named):
        raise invalid_request(f"Invalid '{param}': there is no tool '{name}' in '{where}'.", param, "invalid_value")
    return ToolUse(
        definitions=[_definition(tool) for name, (tool, _) in named.items() if name in told],
        callable=[tool for name, (tool, _) in named.items() if name in allowed],
        places=[place for name, (_, place) in named.items() if name in allowed],
        choice=demand,
        parallel=parallel is not False and functions is None,
        custom=custom,
        legacy=functions is not None,
    )


def _name(item: FunctionTool | CustomTool) -> str:
    return item.function.name if isinstance(item, FunctionTool) else item.custom.name


def _chosen_name(choice: Any) -> str:
    if isinstance(choice, FunctionChoice):
        return choice.function.name
    name: str = choice.custom.name if isinstance(choice, CustomChoice) else choice.name
    return name


def _allowed_name(item: dict[str, Any], at: int) -> str:
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
    return name


def _tool(item: FunctionTool | CustomTool, at: int) -> Tool:
    if isinstance(item, FunctionTool):
        definition = item.function
        return Tool(
            definition.name, definition.description or "", definition.parameters or {}, strict=bool(definition.strict)
        )
    custom = item.custom
    text: dict[str, Any] = {"type": "string"}
    if isinstance(custom.format, GrammarInput):
        grammar = custom.format.grammar
        if grammar.syntax != "regex":
            place = f"tools[{at}].custom.format.grammar.syntax"
            raise invalid_request(
                f"Unsupported parameter: '{place}': grammars in Lark are not enforced by this server: write it "
                "as a regular expression ('regex'), or use a function with 'strict'.",
                place,
                "unsupported_parameter",
            )
        text["pattern"] = f"^(?:{grammar.definition})$"
    parameters = {
        "type": "object",
        "properties": {INPUT_KEY: text},
        "required": [INPUT_KEY],
        "additionalProperties": False,
    }
    return Tool(custom.name, custom.description or "", parameters, strict="pattern" in text)


def _function_tool(item: LegacyFunction) -> Tool:
    return Tool(item.name, item.description or "", item.parameters or {})


def _definition(tool: Tool) -> dict[str, Any]:
    """As chat templates expect it: templates may look for every one of these keys."""
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters) or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}
