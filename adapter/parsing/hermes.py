"""Hermes, Qwen2.5 and Qwen3: `<tool_call>` and a JSON object; small models leave the tags out.

Source: the chat templates of Qwen2.5 and Hermes 2 Pro. Qwen2.5-Coder answers with the bare object, or in a fence.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapter.parsing.call_reader import CallReader, Reading
from adapter.parsing.json_calls import bare_calls, call_array, call_object_begin
from adapter.parsing.marked_calls import MarkedCalls
from adapter.parsing.parsed import OutputParser
from adapter.parsing.tool_format import CallSyntax, Tool, ToolFormat


class Hermes(ToolFormat):
    """`<tool_call>\\n{"name": ..., "arguments": {...}}\\n</tool_call>`."""

    special_tokens = frozenset({"<tool_call>", "</tool_call>"})
    syntax = CallSyntax(end="}\n</tool_call>", triggers=("<tool_call>",), separator="\n")

    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        return MarkedCalls(tools, tagged_calls, ("<tool_call>",), bare_calls, "{[`")

    def call_begin(self, name: str) -> str:
        return "<tool_call>\n" + call_object_begin(name)


def tagged_calls(reader: CallReader) -> Reading[None]:
    """One pair of tags, with one object or an array of them between."""
    yield from reader.expect("<tool_call>")
    yield from call_array(reader)
    yield from reader.after_space()
    yield from reader.expect("</tool_call>")
