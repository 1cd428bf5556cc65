"""A tool format derived from a model's own chat template, for families that have no parser of their own.

The template is rendered with calls whose names and arguments stand nowhere else; what differs from an answer in plain
text is the text around calls. (llama.cpp's docs/autoparser.md describes the idea.) Only calls with the name before
arguments in JSON are understood, and only if what is derived reads the template's own rendering back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapter.parsing.call_reader import CallReader, Reading
from adapter.parsing.json_calls import arguments
from adapter.parsing.marked_calls import MarkedCalls
from adapter.parsing.parsed import CallArguments, CallEnd, CallStart, OutputParser
from adapter.parsing.tool_format import CallSyntax, Tool, ToolFormat
from tokentext import ChatTemplate, TemplateError

_NAMES = ("zq_amber_lookup", "zq_quartz_fetch")
_ARGUMENTS: tuple[dict[str, Any], ...] = ({"zqcolour": "violet"}, {"zqsize": 17})
_IDS = ("abcDEF123", "ghiJKL456")
_WORD = "zqplainwords"
_USER = {"role": "user", "content": "Hi"}
_MARKERS = re.compile(r"<[^<>\s]{1,60}>|\[/?[A-Z_]{2,40}\]")
_UNITS = re.compile(_MARKERS.pattern + r"|.", re.DOTALL)  # a marker is one token: it is never cut
_NAME = re.compile(r"[A-Za-z0-9_.:-]")


@dataclass(frozen=True)
class _Pieces:
    """`open begin NAME between ARGUMENTS end separator begin ... end close`"""

    open: str
    begin: str
    between: str
    end: str
    separator: str
    close: str


class TemplateFormat(ToolFormat):
    """Calls as the pieces of a template's rendering say."""

    def __init__(self, pieces: _Pieces) -> None:
        self._pieces = pieces
        marker = pieces.open or pieces.begin
        self.special_tokens = frozenset(_MARKERS.findall("\n".join(vars(pieces).values())))
        # A form that is JSON from its first character on has no marker: other JSON may begin in the same way.
        triggers = () if marker.lstrip()[:1] in "{[" and not _MARKERS.match(marker.lstrip()) else (marker,)
        self.syntax = CallSyntax(pieces.end, triggers, pieces.open, pieces.separator, pieces.close)

    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        marker = (self._pieces.open or self._pieces.begin).strip()
        if self.syntax is not None and self.syntax.triggers:
            return MarkedCalls(tools, self._calls, (marker,))
        return MarkedCalls(tools, self._calls, (), self._calls, marker[0])

    def call_begin(self, name: str) -> str:
        return self._pieces.begin + name + self._pieces.between

    def _calls(self, reader: CallReader) -> Reading[None]:
        pieces = self._pieces
        yield from _loosely(reader, pieces.open)
        yield from self._call(reader)
        first, *rest = (pieces.separator + pieces.begin).split()
        while True:
            yield from reader.after_space()
            if not (yield from reader.accept(first)):
                break
            reader.begin_item()
            yield from _loosely(reader, " ".join(rest))
            yield from self._call(reader, begun=True)
        yield from _loosely(reader, pieces.close)

    def _call(self, reader: CallReader, begun: bool = False) -> Reading[None]:
        pieces = self._pieces
        if not begun:
            yield from _loosely(reader, pieces.begin)
        stop = pieces.between[0]
        name = yield from reader.word(stop)
        yield from _loosely(reader, pieces.between)
        yield from arguments(reader, name)
        yield from _loosely(reader, pieces.end)


def _loosely(reader: CallReader, literal: str) -> Reading[None]:
    """Reads the literal, with any whitespace where it has some, and around it."""
    for part in literal.split():
        yield from reader.after_space()
        yield from reader.expect(part)


def derived_format(template: ChatTemplate) -> TemplateFormat | None:
    """The format of the template's calls; None if it writes none, or in a form that is not understood."""
    try:
        pieces = _pieces(template)
    except TemplateError:
        return None
    if pieces is None or not pieces.between or _NAME.fullmatch(pieces.between[0]) or not pieces.begin.strip():
        return None
    made = TemplateFormat(pieces)
    return made if _reads_back(made, template) else None


def _pieces(template: ChatTemplate) -> _Pieces | None:
    one = _answer(template, 1)
    if one is None:
        return None
    first = _find_call(one, 0, 0)
    if first is None:
        return None
    before, between, after = one[: first[0]], one[first[0] + len(_NAMES[0]) : first[1]], one[first[2] :]
    two = _answer_or_none(template, 2)
    found = _find_call(two, 1, 0) if two is not None else None
    head = _find_call(two, 0, 0) if two is not None else None
    if two is None or found is None or head is None or found[0] < head[2]:
        return _Pieces("", before, between, after.rstrip(), "\n", "")
    middle = two[head[2] : found[0]]
    end = _shared(_UNITS.findall(after), _UNITS.findall(middle))
    rest = middle[len(end) :]
    begin = _shared(_UNITS.findall(before)[::-1], _UNITS.findall(rest)[::-1], backwards=True)
    opened = before[: len(before) - len(begin)]
    separator = rest[: len(rest) - len(begin)]
    close = after[len(end) :].rstrip()
    if not close:  # a line break after every call need not follow the last one
        separator = end[len(end.rstrip()) :] + separator
        end = end.rstrip()
    return _Pieces(opened, begin, between, end, separator, close)


def _shared(one: Sequence[str], other: Sequence[str], backwards: bool = False) -> str:
    """What both begin with."""
    size = 0
    while size < min(len(one), len(other)) and one[size] == other[size]:
        size += 1
    return "".join(one[:size][::-1] if backwards else one[:size])


def _find_call(text: str, index: int, start: int) -> tuple[int, int, int] | None:
    """Where the name begins, the arguments begin and end."""
    name = text.find(_NAMES[index], start)
    at = text.find("{", name) if name >= 0 else -1
    while at >= 0:
        try:
            value, end = json.JSONDecoder().raw_decode(text, at)
        except ValueError:
            value, end = None, at
        if value == _ARGUMENTS[index]:
            return name, at, end
        at = text.find("{", at + 1)
    return None


def _answer(template: ChatTemplate, count: int) -> str | None:
    """What the template writes for an answer of `count` calls, without what it writes around every answer."""
    calls = [
        {
            "id": _IDS[index],
            "type": "function",
            "function": {"name": _NAMES[index], "arguments": json.dumps(_ARGUMENTS[index])},
        }
        for index in range(count)
    ]
    plain = _render(template, {"role": "assistant", "content": _WORD})
    called = _render(template, {"role": "assistant", "content": "", "tool_calls": calls})
    lead, _, tail = plain.rpartition(_WORD)
    if not called.startswith(lead):
        lead = lead.rstrip()
    if not lead or not called.startswith(lead):
        return None
    called = called[len(lead) :]
    if tail and called.endswith(tail):
        called = called.removesuffix(tail)
    else:  # what follows calls differs from what follows text: the answer ends at the first token of the chat itself
        frame = _MARKERS.findall(template.render([_USER, {"role": "assistant", "content": _WORD}]))
        ends = [called.find(marker) for marker in set(frame) if marker in called]
        called = called[: min(ends, default=len(called))]
    if any(identifier in called for identifier in _IDS):
        return None  # ids are part of the form: no guide could write them
    return called.lstrip()


def _answer_or_none(template: ChatTemplate, count: int) -> str | None:
    try:
        return _answer(template, count)
    except TemplateError:  # some take one call only
        return None


def _render(template: ChatTemplate, answer: dict[str, Any]) -> str:
    tools = [
        {
            "type": "function",
            "function": {"name": name, "description": "d", "parameters": {"type": "object", "properties": {}}},
        }
        for name in _NAMES
    ]
    return template.render([_USER, answer], tools=tools, add_generation_prompt=False)


def _reads_back(made: TemplateFormat, template: ChatTemplate) -> bool:
    """Whether the parser reads the calls that the template wrote, and nothing else, also char by char."""
    for count in (1, 2):
        text = _answer_or_none(template, count)
        if text is None:
            return count == 2
        for pieces in ([text], list(text)):
            parser = made.parser([Tool(name) for name in _NAMES])
            events = [event for piece in pieces for event in parser.push(piece)] + parser.finish()
            names = [event.name for event in events if isinstance(event, CallStart)]
            texts = "".join(event.text for event in events if isinstance(event, CallArguments))
            ends = sum(isinstance(event, CallEnd) for event in events)
            wanted = "".join(json.dumps(value, separators=(",", ":")) for value in _ARGUMENTS[:count])
            if names != list(_NAMES[:count]) or ends != count or re.sub(r"\s", "", texts) != wanted:
                return False
    return True
