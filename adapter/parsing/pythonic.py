"""Calls written as Python: `[get_weather(city="Paris", days=3), now()]`.

Sources: the prompt formats of Llama 3.2 and Llama 4 (docs of llama-models), the model card of LFM2. Other servers read
calls with keyword arguments and literal values only, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from adapter.parsing.call_reader import CallReader, NotACall, Reading
from adapter.parsing.json_calls import call_array_items
from adapter.parsing.marked_calls import MarkedCalls
from adapter.parsing.parsed import OutputParser
from adapter.parsing.python_literals import PythonLiteral, name
from adapter.parsing.tool_format import Tool, ToolFormat

_ENDS = {
    "<|python_start|>": "<|python_end|>",  # Llama 4
    "<|tool_call_start|>": "<|tool_call_end|>",  # LFM2
    "<|python_tag|>": "",  # Llama 3.x
}


class Pythonic(ToolFormat):
    """A list of calls at the beginning of the answer or of a line, or between `<|python_start|>` and `<|python_end|>`.

    After `<|python_tag|>`, or between LFM2's tokens, likewise; after any of them, the brackets may be missing, and the
    list may be one of JSON objects. A call with positional arguments is content: nothing tells their names.

    No syntax: the arguments are not JSON, so guides have calls written as plain JSON instead.
    """

    special_tokens = frozenset({*_ENDS, *_ENDS.values()} - {""})

    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        return MarkedCalls(tools, _at_trigger, (*_ENDS, "\n["), _list, "[")

    def written(self, calls: Sequence[tuple[str, str]]) -> str:
        return f"[{', '.join(f'{name}({_keywords(arguments)})' for name, arguments in calls)}]"


class Lfm2(Pythonic):
    """The list between `<|tool_call_start|>` and `<|tool_call_end|>`."""

    def written(self, calls: Sequence[tuple[str, str]]) -> str:
        return f"<|tool_call_start|>{super().written(calls)}<|tool_call_end|>"


def _keywords(arguments: str) -> str:
    """Arguments in JSON as Python writes them; what is no JSON object, which clients may send, as it is."""
    try:
        values = json.loads(arguments)
    except ValueError:
        return arguments
    return ", ".join(f"{key}={value!r}" for key, value in values.items()) if isinstance(values, dict) else arguments


def _at_trigger(reader: CallReader) -> Reading[None]:
    begin = yield from reader.expect(*_ENDS, "\n")
    if begin == "\n":
        reader.release()
        yield from _list(reader)
        return
    char = yield from reader.after_space()
    if char == "[":
        yield from _list(reader, marked=True)
    else:
        yield from _call(reader, marked=True)
    if end := _ENDS[begin]:
        yield from reader.after_space()
        yield from reader.accept(end)


def _list(reader: CallReader, marked: bool = False) -> Reading[None]:
    yield from reader.expect("[")
    char = yield from reader.after_space()
    if char == "{" and marked:
        yield from call_array_items(reader)
        return
    yield from _call(reader, marked)
    while True:
        char = yield from reader.after_space()
        if char == ",":
            reader.at += 1
            char = yield from reader.after_space()
        elif char != "]":
            raise NotACall
        if char == "]":
            reader.at += 1
            return
        reader.begin_item()
        yield from _call(reader, marked)


def _call(reader: CallReader, marked: bool) -> Reading[None]:
    function = yield from name(reader, "_-.")
    yield from reader.expect("(")
    if not function:
        raise NotACall
    reader.name_known(function)
    if (yield from reader.after_space()) == ")":
        reader.at += 1
        if not marked and (yield from reader.after_space()) not in ",]":
            raise NotACall  # a link, or an expression
        reader.start_call(function)
        reader.arguments("{}")
        reader.end_call()
        return
    key = yield from _key(reader)
    reader.start_call(function)
    try:
        yield from _arguments(reader, key)
    except NotACall:
        if not reader.broken:
            reader.fail_call("an argument without its name")
        raise
    reader.end_call()


def _arguments(reader: CallReader, key: str) -> Reading[None]:
    """The arguments after the first key."""
    literal = PythonLiteral(reader)
    keys: set[str] = set()
    while True:
        if key in keys:
            reader.fail_call(f"the argument {key[:40]!r} is there twice")
        reader.arguments((", " if keys else "{") + json.dumps(key, ensure_ascii=False) + ": ")
        keys.add(key)
        yield from literal.read()
        char = yield from reader.after_space()
        if char == ",":
            reader.at += 1
            char = yield from reader.after_space()
        elif char != ")":
            reader.fail_call(f"{char!r} where ',' or ')' belongs")
        if char == ")":
            reader.at += 1
            reader.arguments("}")
            return
        key = yield from _key(reader)


def _key(reader: CallReader) -> Reading[str]:
    """The name of an argument, and the sign after it."""
    key = yield from name(reader, "_-.")
    yield from reader.after_space()
    yield from reader.expect("=")
    if not key or (yield from reader.peek()) == "=":
        raise NotACall
    return key
