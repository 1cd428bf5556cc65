"""Kimi K2: special tokens around an id that holds the name, and JSON. Source: the model's guide to tool calls."""

from __future__ import annotations

import re
from collections.abc import Sequence

from adapter.parsing.call_reader import CallReader, Reading
from adapter.parsing.json_calls import arguments
from adapter.parsing.marked_calls import MarkedCalls, call_section
from adapter.parsing.parsed import OutputParser
from adapter.parsing.tool_format import CallSyntax, Tool, ToolFormat

_SECTION_BEGIN, _SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_CALL_BEGIN, _CALL_END, _ARGUMENTS = "<|tool_call_begin|>", "<|tool_call_end|>", "<|tool_call_argument_begin|>"
_ID = re.compile(r"(?:functions\.)?(.*?)(?::[0-9]+)?")


class KimiK2(ToolFormat):
    """`<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{...}<|tool_call_end|>` in a section.

    The id is the model's own; one that it repeats within an answer (a guide cannot count) is replaced by a new one.
    """

    special_tokens = frozenset({_SECTION_BEGIN, _SECTION_END, _CALL_BEGIN, _CALL_END, _ARGUMENTS})
    syntax = CallSyntax(end=_CALL_END, triggers=(_SECTION_BEGIN,), open=_SECTION_BEGIN, close=_SECTION_END)

    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        return MarkedCalls(tools, _calls, (_SECTION_BEGIN, _CALL_BEGIN))

    def call_begin(self, name: str) -> str:
        return f"{_CALL_BEGIN}functions.{name}:0{_ARGUMENTS}"


def _call(reader: CallReader) -> Reading[None]:
    yield from reader.expect(_CALL_BEGIN)
    id = (yield from reader.word("<")).strip()
    yield from reader.expect(_ARGUMENTS)
    match = _ID.fullmatch(id)
    name = match[1] if match else id
    reader.name_known(name)
    yield from arguments(reader, name, id, absent="<")
    yield from reader.after_space()
    yield from reader.expect(_CALL_END)


_calls = call_section(_SECTION_BEGIN, _CALL_BEGIN, _SECTION_END, _call)
