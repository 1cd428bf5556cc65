"""DeepSeek V3, R1 and V3.1: special tokens around name and JSON. Source: the models' chat templates."""

from __future__ import annotations

from collections.abc import Sequence

from adapter.parsing.call_reader import CallReader, NotACall, Reading
from adapter.parsing.json_calls import arguments
from adapter.parsing.marked_calls import MarkedCalls, call_section
from adapter.parsing.parsed import OutputParser
from adapter.parsing.tool_format import CallSyntax, Tool, ToolFormat

_CALLS_BEGIN, _CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL_BEGIN, _CALL_END, _SEP = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"


class DeepSeekV3(ToolFormat):
    """V3 and R1: the kind of call before the separator, after it the name and the arguments in a fence."""

    special_tokens = frozenset({_CALLS_BEGIN, _CALLS_END, _CALL_BEGIN, _CALL_END, _SEP})
    syntax = CallSyntax(
        end=f"\n```{_CALL_END}", triggers=(_CALLS_BEGIN,), open=_CALLS_BEGIN, separator="\n", close=_CALLS_END
    )

    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        return MarkedCalls(tools, _calls, (_CALLS_BEGIN, _CALL_BEGIN))

    def call_begin(self, name: str) -> str:
        return f"{_CALL_BEGIN}function{_SEP}{name}\n```json\n"


class DeepSeekV31(DeepSeekV3):
    """V3.1: the name before the separator, after it the arguments."""

    syntax = CallSyntax(end=_CALL_END, triggers=(_CALLS_BEGIN,), open=_CALLS_BEGIN, close=_CALLS_END)

    def call_begin(self, name: str) -> str:
        return f"{_CALL_BEGIN}{name}{_SEP}"


def _call(reader: CallReader) -> Reading[None]:
    """One call of either version: V3 writes no object right after the separator."""
    yield from reader.expect(_CALL_BEGIN)
    name = (yield from reader.word("<")).strip()
    yield from reader.expect(_SEP)
    char = yield from reader.after_space()
    fence = ""
    if char not in '{"<':
        if name != "function":
            raise NotACall
        name = (yield from reader.word("\n{`<")).strip()
        yield from reader.after_space()
        fence = yield from reader.accept("```json", "```")
    reader.name_known(name)
    yield from arguments(reader, name, absent="`" if fence else "<")
    yield from reader.after_space()
    if fence and (yield from reader.accept("```")):
        yield from reader.after_space()
    yield from reader.expect(_CALL_END)


_calls = call_section(_CALLS_BEGIN, _CALL_BEGIN, _CALLS_END, _call)
