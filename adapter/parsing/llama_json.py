"""Llama 3.x: a bare JSON object with `name` and `parameters`. Source: the chat template of Llama 3.1."""

from __future__ import annotations

from collections.abc import Sequence

from adapter.parsing.call_reader import CallReader, Reading
from adapter.parsing.json_calls import bare_calls, call_object_begin
from adapter.parsing.marked_calls import MarkedCalls
from adapter.parsing.parsed import OutputParser
from adapter.parsing.tool_format import CallSyntax, Tool, ToolFormat

_PYTHON_TAG = "<|python_tag|>"


class LlamaJson(ToolFormat):
    """`{"name": ..., "parameters": {...}}`, several separated by `;`, also after `<|python_tag|>`.

    syntax has no trigger: an object that is no call may begin in the same way.
    """

    special_tokens = frozenset({_PYTHON_TAG})
    syntax = CallSyntax(end="}", triggers=(), separator="; ")

    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        return MarkedCalls(tools, _after_python_tag, (_PYTHON_TAG,), bare_calls, "{[`")

    def call_begin(self, name: str) -> str:
        return call_object_begin(name, "parameters")


def _after_python_tag(reader: CallReader) -> Reading[None]:
    yield from reader.expect(_PYTHON_TAG)
    yield from reader.after_space()
    yield from bare_calls(reader)
