"""Qwen3-Coder: parameters between tags that name them. Source: the model's chat template."""

from __future__ import annotations

from collections.abc import Sequence

from adapter.parsing.call_reader import CallReader, NotACall, Reading
from adapter.parsing.marked_calls import MarkedCalls
from adapter.parsing.parsed import OutputParser
from adapter.parsing.tagged_values import TaggedValues
from adapter.parsing.tool_format import Tool, ToolFormat

_BEGIN, _END = "<tool_call>", "</tool_call>"
_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"


class Qwen3Coder(ToolFormat):
    """`<tool_call>\\n<function=NAME>\\n<parameter=k>\\nv\\n</parameter>\\n</function>\\n</tool_call>`.

    Models leave out the first tag at times; the call is read from `<function=` on then.
    """

    special_tokens = frozenset({_BEGIN, _END})

    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        def call(reader: CallReader) -> Reading[None]:
            tagged = yield from reader.accept(_BEGIN)
            yield from reader.after_space()
            yield from reader.expect(_FUNCTION)
            name = (yield from reader.word(">\n")).strip()
            yield from reader.expect(">")
            yield from reader.after_space()
            tag = yield from reader.expect(_PARAMETER, _FUNCTION_END)
            reader.start_call(name)
            values = TaggedValues(reader, tools, name, (_PARAMETER, _FUNCTION_END, _END))
            try:
                while tag == _PARAMETER:
                    key = (yield from reader.word(">\n")).strip()
                    yield from reader.expect(">")
                    yield from values.value(key, _PARAMETER_END, padded=True)
                    yield from reader.after_space()
                    tag = yield from reader.expect(_PARAMETER, _FUNCTION_END)
            except NotACall:
                if not reader.broken:
                    reader.fail_call("a tag is missing")
                raise
            values.end()
            if tagged:
                yield from reader.after_space()
                yield from reader.accept(_END)

        return MarkedCalls(tools, call, (_BEGIN, _FUNCTION))
