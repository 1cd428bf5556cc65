"""The input of a custom tool, from the JSON arguments that models write: `{"input": "the text"}`.

Chat templates know functions only, so a custom tool is shown to the model as a function with one string.
"""

from __future__ import annotations

import re

from adapter.parsing.json_text import JsonStringDecoder

INPUT_KEY = "input"
"""The name of the one property of a custom tool's arguments."""

_BEGIN = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*"')
_PLAIN = re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL)
_LONGEST_BEGIN = 512


class CustomInput:
    """Decodes the first string of the arguments as it comes: whatever the model calls it, it is the input.

    missing: the arguments hold no string to begin with, so there is no input.
    """

    __slots__ = ("_decoder", "_ended", "_held", "_inside", "missing")

    def __init__(self) -> None:
        self._decoder = JsonStringDecoder()
        self._held = ""
        self._inside = False
        self._ended = False
        self.missing = False

    def push(self, text: str) -> str:
        """The input's text that is certain after this piece of the arguments (valid JSON text)."""
        if self._ended or self.missing:
            return ""
        text = self._held + text
        self._held = ""
        if not self._inside:
            begin = _BEGIN.match(text)
            if begin is None:
                self._held = text
                self.missing = len(text) > _LONGEST_BEGIN
                return ""
            self._inside = True
            text = text[begin.end() :]
        match = _PLAIN.match(text)
        assert match is not None
        end = match.end()
        if end < len(text) and text[end] == '"':
            self._ended = True
            return self._decoder.decode(text[:end], last=True)
        self._held = text[end:]  # a lone backslash: the rest of the escape is to come
        return self._decoder.decode(text[:end])

    def finish(self) -> None:
        """The arguments are complete."""
        self.missing = self.missing or not self._inside
