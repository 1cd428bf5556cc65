"""Mistral: `[TOOL_CALLS]` and a JSON array, or from tokenizer v11 on the name and its arguments.

Source: the chat templates of Mistral Small 3 and the encoders of mistral-common (v3 to v13).
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence

from adapter.parsing.call_reader import CallReader, NotACall, Reading
from adapter.parsing.json_calls import arguments, call_array, call_object_begin
from adapter.parsing.marked_calls import MarkedCalls
from adapter.parsing.parsed import OutputParser
from adapter.parsing.tool_format import CallSyntax, Tool, ToolFormat

_CALLS, _CALL_ID, _ARGS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
_ID_CHARS = string.ascii_letters + string.digits


class Mistral(ToolFormat):
    """`[TOOL_CALLS] [{"name": ..., "arguments": {...}}, ...]`.

    An `id` that stands after the arguments comes too late for a streamed call: a new one is made.
    """

    special_tokens = frozenset({_CALLS, _CALL_ID, _ARGS})
    syntax: CallSyntax | None = CallSyntax(end="}", triggers=(_CALLS,), open=f"{_CALLS} [", separator=", ", close="]")

    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        return MarkedCalls(tools, _calls, (_CALLS,))

    def call_begin(self, name: str) -> str:
        return call_object_begin(name)

    def new_id(self) -> str:
        """9 letters and digits: the templates and mistral-common refuse any other."""
        return "".join(secrets.choice(_ID_CHARS) for _ in range(9))


class MistralNamed(Mistral):
    """`[TOOL_CALLS]name[ARGS]{...}`, with `[CALL_ID]id` before `[ARGS]` in v11."""

    syntax = CallSyntax(end="", triggers=(_CALLS,))

    def call_begin(self, name: str) -> str:
        return f"{_CALLS}{name}{_ARGS}"


def _calls(reader: CallReader) -> Reading[None]:
    yield from reader.expect(_CALLS)
    char = yield from reader.after_space()
    if char in "[{":
        yield from call_array(reader)
        return
    name = yield from reader.word("[{ \t\r\n")
    if not name:
        raise NotACall
    reader.name_known(name)
    id: str | None = None
    if (yield from reader.after_space()) == "[":
        if (yield from reader.accept(_CALL_ID)):
            id = (yield from reader.word("[{ \t\r\n")) or None
        yield from reader.expect(_ARGS)
    yield from arguments(reader, name, id)
