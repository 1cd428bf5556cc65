"""Tool calls that cannot go wrong: what the engine is made to write, from the tools and `tool_choice`.

A guide is text in one of the forms of the engine's input `guided_decoding_guide`. Structural tags (docs of xgrammar;
for the CPU engine `structural_tags.py` beside it) enforce the family's own form; engines without them take a JSON
schema, of calls as plain JSON.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from adapter.parsing.guided_calls import GuidedCalls, call_text, calls_schema
from adapter.parsing.parsed import CallEnd
from adapter.parsing.tool_format import CallSyntax, MessageSyntax, Tool, ToolFormat


class Choice(Enum):
    """What `tool_choice` demands of the answer.

    AUTO: text or calls; REQUIRED: one call or more; NAMED: exactly one call, of one of the tools handed in.
    """

    AUTO = "auto"
    REQUIRED = "required"
    NAMED = "named"


@dataclass(frozen=True)
class ToolGuide:
    """What the engine is given.

    kind, text: for `guided_decoding_guide_type` and `guided_decoding_guide`.
    tool_format: whose parser reads the answer.
    reasoning: the answer may begin with reasoning; if not, it begins with a call, whatever the model is used to.
    """

    kind: str
    text: str
    tool_format: ToolFormat
    reasoning: bool


class CannotBeStrict(ValueError):
    """`strict` cannot be kept: the engine takes no structural tags, or the family's calls are not JSON.

    index: of the first such tool.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


def tool_guide(
    tools: Sequence[Tool],
    choice: Choice,
    tool_format: ToolFormat,
    *,
    parallel: bool = True,
    structural_tags: bool,
    reasoning_end: str | None = None,
    unenforced: Collection[str] = (),
) -> ToolGuide | None:
    """The guide for one answer; None when nothing is to be enforced.

    Args:
        tools: those that may be called (of `allowed_tools` or a named choice, only these); not empty.
        tool_format: of the model.
        parallel: whether the answer may hold several calls.
        structural_tags: whether the engine knows this type of guide.
        reasoning_end: text that ends the reasoning that the model is going to write first; None: it writes none.
        unenforced: names of tools that are not strict and whose schema the engine refuses: any object will do.

    Raises:
        CannotBeStrict: `auto` with a strict tool.
    """
    syntax = tool_format.syntax
    if choice is Choice.AUTO:
        strict = next((index for index, tool in enumerate(tools) if tool.strict), None)
        possible = structural_tags and syntax is not None
        # Measured, per token of free text: 40 us on average of a vocabulary of 49,152, against milliseconds for the
        # token itself. So arguments are held to JSON even if nobody is strict; but not where reasoning comes first,
        # as free text under a guide cannot hold control tokens, which a model may reason with.
        reasoning_first = reasoning_end is not None or tool_format.messages is not None
        if strict is None and (not possible or reasoning_first):
            return None
        if syntax is None or not structural_tags:
            assert strict is not None
            why = "this model's engine takes no structural tags"
            if structural_tags:
                why = "this model does not write its calls as JSON"
            raise CannotBeStrict(strict, f"{why}: with tool_choice 'auto', arguments cannot be held to a schema.")
        if tool_format.messages is not None:
            kept = {tool.name: _schema(tool, tool.strict) for tool in tools}
            calls = _calls(kept, tool_format, syntax, parallel)
            answer = _text_tag(*tool_format.messages.answer)
            free = in_messages({"type": "or", "elements": [calls, answer]}, tool_format.messages)
        else:
            free = _triggered(tools, tool_format, syntax, parallel)
        return tag_guide(free, tool_format, reasoning_end)
    several = parallel and choice is Choice.REQUIRED
    schemas = {tool.name: _schema(tool, tool.name not in unenforced) for tool in tools}
    if structural_tags and syntax is not None:
        calls = _calls(schemas, tool_format, syntax, several)
        if tool_format.messages is not None:
            calls = in_messages(calls, tool_format.messages)
        return tag_guide(calls, tool_format, reasoning_end)
    schema = calls_schema(schemas, several)
    if structural_tags and reasoning_end is not None:
        return tag_guide({"type": "json_schema", "json_schema": schema}, GuidedCalls(), reasoning_end)
    return ToolGuide("json_schema", _json(schema), GuidedCalls(), reasoning=False)


def tag_guide(tag_format: dict[str, Any], tool_format: ToolFormat, reasoning_end: str | None) -> ToolGuide:
    """A structural tag of one format, after the reasoning if there is any."""
    return ToolGuide("structural_tag", tag_text(tag_format, reasoning_end), tool_format, reasoning=True)


def tag_text(tag_format: dict[str, Any], reasoning_end: str | None) -> str:
    """The document of a structural tag.

    Args:
        reasoning_end: text up to which the model writes what it likes; None: the format holds from the start.
    """
    if reasoning_end is not None:
        # Models leave up to two line breaks after their reasoning.
        thought = {"type": "tag", "begin": "", "content": {"type": "any_text"}, "end": reasoning_end}
        blank = {"type": "regex", "pattern": r"\n{0,2}"}
        tag_format = {"type": "sequence", "elements": [thought, blank, tag_format]}
    return _json({"type": "structural_tag", "format": tag_format})


def in_messages(tag_format: dict[str, Any], messages: MessageSyntax) -> dict[str, Any]:
    """Messages of reasoning and of text before calls, any number of each, and then what `tag_format` says."""
    before = [_text_tag(begin, end + messages.separator) for begin, end in (messages.thought, messages.preamble)]
    any_of_them = {
        "type": "tags_with_separator",
        "tags": before,
        "separator": "",
        "at_least_one": False,
        "stop_after_first": False,
    }
    return {"type": "sequence", "elements": [any_of_them, tag_format]}


def answer_format(schema: Mapping[str, Any], tool_format: ToolFormat) -> dict[str, Any]:
    """An answer that follows a JSON schema; where answers are messages, in one, after others."""
    messages = tool_format.messages
    if messages is None:
        return {"type": "json_schema", "json_schema": dict(schema)}
    begin, end = messages.answer
    return in_messages(_tag(begin, dict(schema), end), messages)


def _calls(
    schemas: Mapping[str, dict[str, Any]], tool_format: ToolFormat, syntax: CallSyntax, several: bool
) -> dict[str, Any]:
    """One call or more, and nothing else."""
    tags = [_tag(tool_format.call_begin(name), schema, syntax.end) for name, schema in schemas.items()]
    calls = {
        "type": "tags_with_separator",
        "tags": tags,
        "separator": syntax.separator,
        "at_least_one": True,
        "stop_after_first": not several,
    }
    if not syntax.open and not syntax.close:
        return calls
    return {"type": "tag", "begin": syntax.open, "content": calls, "end": syntax.close}


def _triggered(tools: Sequence[Tool], tool_format: ToolFormat, syntax: CallSyntax, parallel: bool) -> dict[str, Any]:
    """Free text in which a call, once begun, has to be a whole and valid one."""
    schemas = {tool.name: _schema(tool, tool.strict) for tool in tools}
    if syntax.open and syntax.triggers:
        tags = [_calls(schemas, tool_format, syntax, parallel)]
        triggers = list(syntax.triggers)
    else:
        tags = [
            _tag(syntax.open + tool_format.call_begin(name), schema, syntax.end + syntax.close)
            for name, schema in schemas.items()
        ]
        # A form without a marker begins as other JSON may: only with the name in it, it is a call.
        triggers = list(syntax.triggers) or [tag["begin"] for tag in tags]
    if reads_bare_calls(tool_format):
        bare = [_tag(begin, schema, end) for name, schema in schemas.items() for begin, end in _bare_forms(name)]
        bare = [tag for tag in bare if tag["begin"] not in triggers]
        tags += bare
        triggers += [tag["begin"] for tag in bare]
    return {"type": "triggered_tags", "triggers": triggers, "tags": tags, "stop_after_first": not parallel}


def _bare_forms(name: str) -> list[tuple[str, str]]:
    """What stands before and after the arguments of a call without a marker: on one line, or indented."""
    forms = [(call_text(name, "")[:-1], "}")]
    for indent in ("  ", "    "):
        forms.append((f'{{\n{indent}"name": {json.dumps(name)},\n{indent}"arguments": ', "\n}"))
    return forms


@lru_cache(maxsize=64)
def reads_bare_calls(tool_format: ToolFormat) -> bool:
    """Whether the format's parser takes a call without any marker for one (small models leave them out)."""
    parser = tool_format.parser([Tool("f")])
    events = parser.push(call_text("f", "{}")) + parser.finish()
    return any(isinstance(event, CallEnd) for event in events)


def _text_tag(begin: str, end: str) -> dict[str, Any]:
    return {"type": "tag", "begin": begin, "content": {"type": "any_text"}, "end": end}


def _tag(begin: str, schema: dict[str, Any], end: str) -> dict[str, Any]:
    return {"type": "tag", "begin": begin, "content": {"type": "json_schema", "json_schema": schema}, "end": end}


def _schema(tool: Tool, enforced: bool) -> dict[str, Any]:
    """The schema of a tool's arguments, which are an object in any case."""
    if not enforced or not tool.parameters:
        # xgrammar takes properties that are not named for forbidden unless this says otherwise.
        return {"type": "object", "additionalProperties": True}
    return {**tool.parameters, "type": "object"}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
