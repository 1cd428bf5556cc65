"""Phi-4-mini: `<|tool_call|>` and a JSON array, or `functools` and one.

Source: the model's chat template, and the system prompt that its publisher gives for `functools`.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapter.parsing.call_reader import CallReader, Reading
from adapter.parsing.json_calls import call_array, call_object_begin
from adapter.parsing.marked_calls import MarkedCalls
from adapter.parsing.parsed import OutputParser
from adapter.parsing.tool_format import CallSyntax, Tool, ToolFormat

_OPEN, _CLOSE, _FUNCTOOLS = "<|tool_call|>", "<|/tool_call|>", "functools["


class Phi4Mini(ToolFormat):
    """`<|tool_call|>[{"name": ..., "arguments": {...}}, ...]<|/tool_call|>`."""

    special_tokens = frozenset({_OPEN, _CLOSE})
    syntax = CallSyntax(end="}", triggers=(_OPEN,), open=f"{_OPEN}[", separator=", ", close=f"]{_CLOSE}")

    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        return MarkedCalls(tools, _calls, (_OPEN, _FUNCTOOLS))

    def call_begin(self, name: str) -> str:
        return call_object_begin(name)


def _calls(reader: CallReader) -> Reading[None]:
    if (yield from reader.accept("functools")):
        yield from call_array(reader)
        return
    yield from reader.expect(_OPEN)
    yield from call_array(reader)
    yield from reader.after_space()
    yield from reader.expect(_CLOSE)
