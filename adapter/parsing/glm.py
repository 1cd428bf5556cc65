"""GLM-4.5 and later: a name, then keys and values between tags. Source: the models' chat templates."""

from __future__ import annotations

from collections.abc import Sequence

from adapter.parsing.call_reader import CallReader, NotACall, Reading
from adapter.parsing.marked_calls import MarkedCalls
from adapter.parsing.parsed import OutputParser
from adapter.parsing.tagged_values import TaggedValues
from adapter.parsing.tool_format import Tool, ToolFormat

_BEGIN, _END = "<tool_call>", "</tool_call>"
_KEY, _KEY_END = "<arg_key>", "</arg_key>"
_VALUE, _VALUE_END = "<arg_value>", "</arg_value>"


class Glm(ToolFormat):
    """`<tool_call>NAME\\n<arg_key>k</arg_key>\\n<arg_value>v</arg_value>\\n</tool_call>`, the line breaks optional."""

    special_tokens = frozenset({_BEGIN, _END, _KEY, _KEY_END, _VALUE, _VALUE_END})

    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        def call(reader: CallReader) -> Reading[None]:
            yield from reader.expect(_BEGIN)
            yield from reader.after_space()
            name = (yield from reader.word("<\n")).strip()
            yield from reader.after_space()
            tag = yield from reader.expect(_KEY, _END)
            reader.start_call(name)
            values = TaggedValues(reader, tools, name, (_KEY, _END))
            try:
                while tag == _KEY:
                    key = (yield from reader.word("<")).strip()
                    yield from reader.expect(_KEY_END)
                    yield from reader.after_space()
                    yield from reader.expect(_VALUE)
                    yield from values.value(key, _VALUE_END, padded=False)
                    yield from reader.after_space()
                    tag = yield from reader.expect(_KEY, _END)
            except NotACall:
                if not reader.broken:
                    reader.fail_call("a tag is missing")
                raise
            values.end()

        return MarkedCalls(tools, call, (_BEGIN,))
