"""Arguments written as text between tags, one after another, as the JSON object that they make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from adapter.parsing.call_reader import AnswerEnded, CallReader, Reading
from adapter.parsing.held_back import held_back
from adapter.parsing.json_text import JsonScanner
from adapter.parsing.tool_format import Tool

_WORDS = {"True": "true", "False": "false", "None": "null"}
_LONGEST_VALUE = 1 << 20  # chars of a value that is no string: it is held until its end


class TaggedValues:
    """Writes the arguments of one call while they are read.

    A property whose schema allows strings only is a string, and streams as it comes; for any other the text is JSON if
    it can be, and else a string.
    """

    def __init__(self, reader: CallReader, tools: Sequence[Tool], name: str) -> None:
        self._reader = reader
        tool = next((tool for tool in tools if tool.name == name), None)
        properties = tool.parameters.get("properties") if tool is not None else None
        self._properties: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
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
        if _only_string(self._properties.get(key)):
            reader.arguments('"')
            yield from self._text(closing, padded, None)
            reader.arguments('"')
            return
        pieces: list[str] = []
        yield from self._text(closing, padded, pieces)
        reader.arguments(_json_or_string("".join(pieces)))

    def _text(self, closing: str, padded: bool, into: list[str] | None) -> Reading[None]:
        """The text before the closing tag: collected, or passed on as the inside of a JSON string."""
        reader = self._reader
        left = _LONGEST_VALUE
        ends = ("\n" + closing, closing) if padded else (closing,)
        while True:
            places = [(place, -len(end)) for end in ends if (place := reader.text.find(end, reader.at)) >= 0]
            stop = min(places)[0] if places else len(reader.text) - held_back(reader.text[reader.at :], ends)
            piece = reader.text[reader.at : stop]
            if into is None:
                reader.arguments(json.dumps(piece, ensure_ascii=False)[1:-1])
            else:
                into.append(piece)
                left -= len(piece)
                if left < 0:
                    reader.fail_call(f"an argument is longer than {_LONGEST_VALUE:,} characters")
            if places:
                reader.at = stop - min(places)[1]
                reader.pass_on()
                return
            reader.at = stop
            reader.pass_on()
            if reader.ended:
                raise AnswerEnded
            yield


def _only_string(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(values, list):
        return all(isinstance(value, str) for value in values)
    return schema.get("type") in ("string", ["string"])


def _json_or_string(text: str) -> str:
    """The text itself where it is JSON, so that no number changes; Python's words for true, false and null too."""
    bare = text.strip()
    if bare in _WORDS:
        return _WORDS[bare]
    scanner = JsonScanner()
    used = scanner.feed(bare + " ")  # a number ends with what follows it
    if scanner.done and scanner.error is None and used >= len(bare):
        return bare
    return json.dumps(text, ensure_ascii=False)
