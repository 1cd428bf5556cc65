"""Granite: a JSON array after `<|tool_call|>` (3.x; `<tool_call>` in 3.1), or Hermes' tags (4).

Source: the chat templates of Granite 3.3 and 4.0.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapter.parsing.call_reader import CallReader, Reading
from adapter.parsing.hermes import Hermes
from adapter.parsing.json_calls import call_array, call_object_begin
from adapter.parsing.marked_calls import MarkedCalls
from adapter.parsing.parsed import OutputParser
from adapter.parsing.tool_format import CallSyntax, Tool, ToolFormat

_MARKERS = ("<|tool_call|>", "<tool_call>")


class Granite(ToolFormat):
    """`<|tool_call|>[{"name": ..., "arguments": {...}}, ...]`."""

    special_tokens = frozenset({*_MARKERS, "</tool_call>"})
    syntax = CallSyntax(end="}", triggers=("<|tool_call|>",), open="<|tool_call|>[", separator=", ", close="]")

    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        return MarkedCalls(tools, _calls, _MARKERS)

    def call_begin(self, name: str) -> str:
        return call_object_begin(name)


class Granite4(Granite):
    """Hermes' tags."""

    syntax = Hermes.syntax

    def call_begin(self, name: str) -> str:
        return Hermes().call_begin(name)


def _calls(reader: CallReader) -> Reading[None]:
    yield from reader.expect(*_MARKERS)
    yield from call_array(reader)
    yield from reader.after_space()
    yield from reader.accept("</tool_call>")
