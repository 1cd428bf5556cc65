"""Arguments written as text between tags, one after another, as the JSON object that they make."""

from __future__ import annotations

import json
from collections.abc import Sequence

from adapter.parsing.call_reader import AnswerEnded, CallReader, Reading
from adapter.parsing.held_back import held_back
from adapter.parsing.json_text import JsonScanner
from adapter.parsing.schema_types import ANY_TYPE, SchemaTypes, json_type
from adapter.parsing.tool_format import Tool

_WORDS = {"True": "true", "False": "false", "None": "null"}
_SPACE = " \t\r\n"
_LONGEST_VALUE = 1 << 20  # chars of a value that may be no string: it is held until its end
_LONGEST_GAP = 256  # chars of whitespace between a value's closing tag and the next tag


class TaggedValues:
    """Writes the arguments of one call while they are read.

    A property whose schema allows strings only is a string, and streams as it comes. For any other the text is JSON if
    it can be, and of a type that the schema allows, and else a string.

    following: the tags that may come after a value. A closing tag without one of them after it is part of the value:
        the forms have no escape, and files that models write hold tags.
    """

    def __init__(self, reader: CallReader, tools: Sequence[Tool], name: str, following: Sequence[str]) -> None:
        self._reader = reader
        self._following = tuple(following)
        tool = next((tool for tool in tools if tool.name == name), None)
        self._types = SchemaTypes(tool.parameters if tool is not None else {})
        self._keys: set[str] = set()

    def end(self) -> None:
        """The call is complete."""
        self._reader.arguments("}" if self._keys else "{}")
        self._reader.end_call()

    def value(self, key: str, closing: str, padded: bool) -> Reading[None]:
        """Reads the value of `key` and the tag that closes it.

        Args:
            padded: a line break at either end of the value belongs to the tags.
        """
        reader = self._reader
        if key in self._keys:
            reader.fail_call(f"the argument {key[:40]!r} is there twice")
        reader.arguments(("{" if not self._keys else ", ") + json.dumps(key, ensure_ascii=False) + ": ")
        self._keys.add(key)
        if padded:
            yield from reader.accept("\n")
        types = self._types.of_property(key)
        if types == {"string"}:
            reader.arguments('"')
            yield from self._text(closing, padded, None)
            reader.arguments('"')
            return
        pieces: list[str] = []
        yield from self._text(closing, padded, pieces)
        reader.arguments(_json_or_string("".join(pieces), types))

    def _text(self, closing: str, padded: bool, into: list[str] | None) -> Reading[None]:
        """The text before the closing tag: collected, or passed on as the inside of a JSON string."""
        reader = self._reader
        left = _LONGEST_VALUE
        ends = ("\n" + closing, closing) if padded else (closing,)
        passed = 0  # chars of the text at hand up to the last closing tag that was none
        while True:
            text, start = reader.text, reader.at
            place = text.find(closing, start + passed)
            after = place + len(closing)
            ends_here: bool | None = None
            if place >= 0:
                ends_here = self._tag_follows(after)
                if ends_here is False:
                    passed = after - start
                    continue
                stop = place - 1 if padded and place > start and text[place - 1] == "\n" else place
            else:
                stop = len(text) - held_back(text[max(start, len(text) - len(ends[0])) :], ends)
            piece = text[start:stop]
            if into is None:
                reader.arguments(json.dumps(piece, ensure_ascii=False)[1:-1])
            else:
                into.append(piece)
                left -= len(piece)
                if left < 0:
                    reader.fail_call(f"an argument is longer than {_LONGEST_VALUE:,} characters")
            reader.at = after if ends_here else stop
            reader.pass_on()
            if ends_here:
                return
            if reader.ended:
                raise AnswerEnded
            passed = 0
            yield

    def _tag_follows(self, at: int) -> bool | None:
        """Whether one of the tags that may follow stands there, after whitespace; None: that is still open."""
        text = self._reader.text
        limit = at + _LONGEST_GAP
        while at < len(text) and text[at] in _SPACE:
            at += 1
            if at == limit:
                return False
        if text.startswith(self._following, at):
            return True
        rest = text[at : at + max(map(len, self._following))]
        return None if any(tag.startswith(rest) for tag in self._following) else False


def _json_or_string(text: str, types: frozenset[str]) -> str:
    """The text itself where it is JSON, so that no number changes; Python's words for true, false and null too."""
    bare = text.strip()
    bare = _WORDS.get(bare, bare)
    scanner = JsonScanner()
    used = scanner.feed(bare + " ")  # a number ends with what follows it
    if not scanner.done or scanner.error is not None or used < len(bare):
        return json.dumps(text, ensure_ascii=False)
    if "string" in types and types != ANY_TYPE:
        # Where strings are written without quotes, quotes are part of them.
        found = json_type(bare)
        if found == "string" or found not in types:
            return json.dumps(text, ensure_ascii=False)
    return bare
