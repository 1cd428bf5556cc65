"""Conversations with tools for chat templates that know nothing of tools.

Whether a template knows is found by rendering: what it does not write is put into the text of the messages instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from adapter.parsing.hermes import Hermes
from adapter.parsing.tool_format import ToolFormat
from tokentext import ChatTemplate, TemplateError

PLAIN: ToolFormat = Hermes()
"""How a model is told to call tools when its template says nothing of it."""

_NAME = "zq_probe_tool"
_WORD = "zqprobeword"
_USER: dict[str, Any] = {"role": "user", "content": "Hi"}
_PARAMETERS = {"type": "object", "properties": {}}
_CALL: dict[str, Any] = {"id": "abcdef123", "type": "function", "function": {"name": _NAME, "arguments": '{"a": 1}'}}


@dataclass(frozen=True)
class TemplateAbilities:
    """What a template writes of a conversation with tools: definitions, calls, results, and a system message at all."""

    tools: bool
    calls: bool
    results: bool
    system: bool


_known: WeakKeyDictionary[ChatTemplate, TemplateAbilities] = WeakKeyDictionary()


def abilities(template: ChatTemplate) -> TemplateAbilities:
    """Found once for each template."""
    found = _known.get(template)
    if found is None:
        asked = [_USER, {"role": "assistant", "content": "", "tool_calls": [_CALL]}]
        result = {"role": "tool", "tool_call_id": "abcdef123", "name": _NAME, "content": _WORD}
        system = {"role": "system", "content": _WORD}
        found = TemplateAbilities(
            tools=_writes(template, _NAME, [_USER], _NAME),
            calls=_writes(template, _NAME, asked) or _writes(template, _NAME, [*asked, result]),
            results=_writes(template, _WORD, [*asked, result]),
            system=_writes(template, _WORD, [system, _USER]),
        )
        _known[template] = found
    return found


def _writes(
    template: ChatTemplate, word: str, messages: Sequence[Mapping[str, Any]], tool: str = "another_function"
) -> bool:
    """Whether the word is in the prompt; there is a tool, as some templates fail without one."""
    definition = {"type": "function", "function": {"name": tool, "description": "d", "parameters": _PARAMETERS}}
    try:
        return word in template.render(messages, tools=[definition])
    except TemplateError:
        return False


def with_tools(
    template: ChatTemplate,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    tool_format: ToolFormat = PLAIN,
) -> list[dict[str, Any]]:
    """The messages for this template: what it would leave out is written into their content.

    Args:
        messages: as chat templates take them, with `arguments` of calls as JSON text.
        tools: OpenAI tool definitions that the model is to know.
        tool_format: how calls are written into content; `PLAIN` where that is not known, or where the model has to
            be told how to call and the format has no `syntax`.
    """
    able = abilities(template)
    form = tool_format if tool_format.syntax is not None else PLAIN
    written: list[dict[str, Any]] = []
    results: list[str] = []
    for message in messages:
        if message["role"] == "tool" and not able.results:
            results.append(f"<tool_response>\n{_text(message.get('content'))}\n</tool_response>")
            continue
        if results:
            written.append({"role": "user", "content": "\n".join(results)})
            results = []
        if message.get("tool_calls") and not able.calls:
            message = _with_calls_as_content(message, tool_format if able.tools else form)
        written.append(dict(message))
    if results:
        written.append({"role": "user", "content": "\n".join(results)})
    if tools and not able.tools:
        _add_instruction(written, _instruction(tools, form), able.system)
    return written


def _with_calls_as_content(message: Mapping[str, Any], form: ToolFormat) -> dict[str, Any]:
    calls = [(call["function"]["name"], call["function"]["arguments"] or "{}") for call in message["tool_calls"]]
    text = form.written(calls) or PLAIN.written(calls)
    said = _text(message.get("content"))
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**rest, "content": f"{said}\n{text}" if said else text}


def _add_instruction(messages: list[dict[str, Any]], instruction: str, system: bool) -> None:
    """Appends to the system message; where the template takes none, goes before the first message of the user."""
    role = "system" if system else "user"
    place = next((index for index, message in enumerate(messages) if message["role"] == role), None)
    if place is None or (system and place != 0):
        messages.insert(0, {"role": role, "content": instruction})
        return
    content = messages[place].get("content")
    if isinstance(content, list):
        part = {"type": "text", "text": instruction}
        merged: Any = [*content, part] if system else [part, *content]
    else:
        merged = "\n\n".join(text for text in ((content, instruction) if system else (instruction, content)) if text)
    messages[place] = {**messages[place], "content": merged}


def _instruction(tools: Sequence[Mapping[str, Any]], form: ToolFormat) -> str:
    syntax = form.syntax
    assert syntax is not None
    lines = [json.dumps(tool, ensure_ascii=False) for tool in tools]
    example = syntax.open + form.call_begin("NAME") + "{ARGUMENTS}" + syntax.end + syntax.close
    return "\n".join(
        [
            "You can call these functions, each given as JSON with the schema of its arguments:",
            *lines,
            "To call one, write this, with the function's name and its arguments as a JSON object, and nothing else:",
            example,
            "To call several, write one after another. Results come back between <tool_response> and </tool_response>.",
        ]
    )


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if isinstance(part, Mapping))
    return content or ""
