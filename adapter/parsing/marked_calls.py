"""A parser of answers whose calls stand at markers, or at the beginning of the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from adapter.parsing.call_reader import AnswerEnded, CallReader, Grammar, NotACall, Reading
from adapter.parsing.parsed import CallArguments, Content, Parsed
from adapter.parsing.tool_format import Tool


class MarkedCalls:
    """Content, and calls where a trigger stands.

    grammar: reads calls, from a trigger on, and the trigger first.
    triggers: the markers that calls begin with.
    opening: reads calls without a marker; tried where the answer's first char that is no whitespace is one of
        `opening_chars`.
    """

    reasoning = False

    def __init__(
        self,
        tools: Sequence[Tool],
        grammar: Grammar,
        triggers: Sequence[str],
        opening: Grammar | None = None,
        opening_chars: str = "",
    ) -> None:
        self._reader = CallReader(frozenset(tool.name for tool in tools))
        self._grammar = grammar
        self._opening = opening
        self._opening_chars = opening_chars
        self._search = _marker_pattern(triggers).search if triggers else None
        self._reading: Reading[None] | None = None

    def push(self, text: str) -> list[Parsed]:
        reader = self._reader
        if reader.broken or not text:
            return []
        unread = self._reading is not None or not reader.plain or reader.at < len(reader.text)
        if not unread and (self._search is None or self._search(text) is None):
            # Most tokens: content after content, and no marker in it.
            start = reader.base + reader.at
            reader.base = start + len(text)
            reader.text = ""
            reader.at = 0
            reader.begin()
            return [Content(text, start)]
        reader.add(text)
        self._run()
        events, reader.events = reader.events, []
        return _joined(events)

    def finish(self) -> list[Parsed]:
        reader = self._reader
        if reader.broken:
            return []
        reader.ended = True
        self._run()
        if not reader.in_call:
            reader.end()
        return _joined(reader.events)

    def _run(self) -> None:
        reader = self._reader
        while not reader.broken:
            if self._reading is None:
                self._reading = self._find()
                if self._reading is None:
                    return
            try:
                next(self._reading)
                return
            except StopIteration:
                if reader.made:
                    reader.drop()
                else:
                    reader.release()
            except NotACall:
                if not reader.broken:
                    reader.release()
            except AnswerEnded:
                if reader.in_call:
                    return
                if reader.closing:
                    reader.at = len(reader.text)
                    reader.drop()
                else:
                    reader.release()
            self._reading = None
            reader.in_call = reader.closing = False

    def _find(self) -> Reading[None] | None:
        """Content up to where calls may begin; None if that is not in the text at hand."""
        reader = self._reader
        reader.begin()
        text, at = reader.text, reader.at
        if self._opening is not None:
            rest = text[at:].lstrip()
            reader.at = len(text) - len(rest)
            reader.release()
            if not rest:
                return None
            opening, self._opening = self._opening, None
            if rest[0] in self._opening_chars:
                reader.begin()
                return opening(reader)
            at = reader.at
        match = self._search(text, at) if self._search is not None else None
        if match is not None and match[1] is not None:
            reader.at = match.start()
            reader.release()
            reader.begin()
            return self._grammar(reader)
        reader.at = len(text) if match is None or reader.ended else match.start()
        reader.release()
        return None


def _joined(events: list[Parsed]) -> list[Parsed]:
    """Neighbouring pieces of arguments as one: every event becomes a message to the client."""
    if len(events) < 2:
        return events
    joined: list[Parsed] = []
    for together, group in groupby(events, lambda event: type(event) is CallArguments):
        if together:
            joined.append(CallArguments("".join(event.text for event in group if isinstance(event, CallArguments))))
        else:
            joined += group
    return joined


def _marker_pattern(markers: Sequence[str]) -> re.Pattern[str]:
    """Finds a marker (group 1), or the beginning of one at the end of the text."""
    beginnings = sorted({marker[:size] for marker in markers for size in range(1, len(marker))}, key=len, reverse=True)
    whole = "|".join(re.escape(marker) for marker in markers)
    partial = "|".join(re.escape(beginning) for beginning in beginnings)
    return re.compile(rf"({whole})|(?:{partial})\Z")


def call_section(begin: str, call_begin: str, end: str, call: Grammar) -> Grammar:
    """Reads calls that stand one after the other between `begin` and `end`, both of which may be missing.

    Args:
        call_begin: what each begins with. call: reads one, from there on.
    """

    def calls(reader: CallReader) -> Reading[None]:
        if (yield from reader.accept(begin)):
            yield from reader.after_space()
        yield from call(reader)
        while True:
            yield from reader.after_space()
            if (yield from reader.accept(end)):
                return
            if not (yield from reader.accept(call_begin)):
                return
            reader.at -= len(call_begin)
            reader.begin_item()
            yield from call(reader)

    return calls
