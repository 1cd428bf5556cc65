"""Reads JSON text (RFC 8259) as it comes, in pieces of any size."""

from __future__ import annotations

import json
import re

MAX_DEPTH = 64
"""How deep objects and arrays may be nested."""

_BEFORE_VALUE, _BEFORE_FIRST_ITEM, _BEFORE_FIRST_KEY, _BEFORE_KEY, _BEFORE_COLON, _AFTER_VALUE = range(6)
_IN_STRING, _IN_ESCAPE, _IN_HEX, _IN_NUMBER, _IN_LITERAL = range(6, 11)

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'[^"\\\x00-\x1f]*')
_DIGITS = re.compile(r"[0-9]*")

_ESCAPED = frozenset('"\\/bfnrt')
_HEX = frozenset("0123456789abcdefABCDEF")
_LITERALS = {"t": "true", "f": "false", "n": "null"}

# A number, by what may follow: state -> {kind of char: state}. The states in _NUMBER_ENDS are numbers.
_NUMBER = {
    "-": {"zero": "zero", "digit": "integer"},
    "zero": {".": ".", "e": "e"},
    "integer": {"zero": "integer", "digit": "integer", ".": ".", "e": "e"},
    ".": {"zero": "fraction", "digit": "fraction"},
    "fraction": {"zero": "fraction", "digit": "fraction", "e": "e"},
    "e": {"sign": "sign", "zero": "exponent", "digit": "exponent"},
    "sign": {"zero": "exponent", "digit": "exponent"},
    "exponent": {"zero": "exponent", "digit": "exponent"},
}
_NUMBER_ENDS = frozenset({"zero", "integer", "fraction", "exponent"})
_REPEATING = frozenset({"integer", "fraction", "exponent"})
_NUMBER_CHARS = {".": ".", "e": "e", "E": "e", "+": "sign", "-": "sign", "0": "zero"} | dict.fromkeys(
    "123456789", "digit"
)


class JsonScanner:
    """Follows one JSON value, and knows the char at which it ends or stops being JSON.

    done: the value is complete.
    error: why the text is no JSON, for a person; None as long as it is.
    """

    __slots__ = ("_expected", "_is_key", "_left", "_number", "_open", "_state", "done", "error")

    def __init__(self) -> None:
        self.done = False
        self.error: str | None = None
        self._state = _BEFORE_VALUE
        self._open: list[str] = []  # the closing bracket of each container that is open
        self._is_key = False
        self._left = 0  # hex digits to come
        self._number = ""
        self._expected = ""  # the rest of a literal

    def feed(self, text: str, at: int = 0, stop: int | None = None) -> int:
        """Reads `text[at:stop]` up to the end of the value or an error, and returns where it stopped.

        What lies before that index belongs to the value. Once `done` or `error` is set, nothing more may be fed.
        """
        size = len(text) if stop is None else stop
        while at < size:
            state = self._state
            if state == _IN_STRING:
                at = _STRING.match(text, at, size).end()  # type: ignore[union-attr]
                if at == size:
                    break
                char = text[at]
                if char == '"':
                    if self._is_key:
                        self._state = _BEFORE_COLON
                    elif self._value_ends():
                        return at + 1
                elif char == "\\":
                    self._state = _IN_ESCAPE
                else:
                    return self._fail(at, f"the control character {char!r} within a string")
                at += 1
            elif state <= _AFTER_VALUE:
                at = _SPACE.match(text, at, size).end()  # type: ignore[union-attr]
                if at == size:
                    break
                if self._structure(state, text[at]):
                    at += 1
                if self.error is not None or self.done:
                    break
            elif state == _IN_NUMBER:
                if self._number in _REPEATING:
                    at = _DIGITS.match(text, at, size).end()  # type: ignore[union-attr]
                    if at == size:
                        break
                following = _NUMBER[self._number].get(_NUMBER_CHARS.get(text[at], ""))
                if following is not None:
                    self._number = following
                    at += 1
                elif self._number not in _NUMBER_ENDS:
                    return self._fail(at, f"{text[at]!r} within a number")
                elif self._value_ends():  # the char after a number is not part of it
                    return at
            elif state == _IN_ESCAPE:
                char = text[at]
                if char == "u":
                    self._state, self._left = _IN_HEX, 4
                elif char in _ESCAPED:
                    self._state = _IN_STRING
                else:
                    return self._fail(at, f"the escape \\{char}")
                at += 1
            elif state == _IN_HEX:
                if text[at] not in _HEX:
                    return self._fail(at, f"{text[at]!r} within a \\u escape")
                self._left -= 1
                if not self._left:
                    self._state = _IN_STRING
                at += 1
            else:
                if text[at] != self._expected[0]:
                    return self._fail(at, f"{text[at]!r} where {self._expected[0]!r} belongs")
                self._expected = self._expected[1:]
                at += 1
                if not self._expected and self._value_ends():
                    return at
        return at

    def _structure(self, state: int, char: str) -> bool:
        """One char outside strings, numbers and literals. Returns whether it was taken."""
        if state == _AFTER_VALUE:
            closing = self._open[-1]
            if char == ",":
                self._state = _BEFORE_KEY if closing == "}" else _BEFORE_VALUE
                return True
            if char == closing:
                self._close()
                return True
        elif state == _BEFORE_COLON:
            if char == ":":
                self._state = _BEFORE_VALUE
                return True
        elif state in (_BEFORE_KEY, _BEFORE_FIRST_KEY):
            if char == '"':
                self._state, self._is_key = _IN_STRING, True
                return True
            if char == "}" and state == _BEFORE_FIRST_KEY:
                self._close()
                return True
        elif char == "]" and state == _BEFORE_FIRST_ITEM:
            self._close()
            return True
        else:
            return self._value_begins(char)
        self.error = f"{char!r} where {_NAMES[state]} belongs"
        return False

    def _value_begins(self, char: str) -> bool:
        if char == '"':
            self._state, self._is_key = _IN_STRING, False
        elif char == "{" or char == "[":
            if len(self._open) == MAX_DEPTH:
                self.error = f"nested more than {MAX_DEPTH} deep"
                return False
            self._open.append("}" if char == "{" else "]")
            self._state = _BEFORE_FIRST_KEY if char == "{" else _BEFORE_FIRST_ITEM
        elif char in _LITERALS:
            self._state, self._expected = _IN_LITERAL, _LITERALS[char][1:]
        elif char == "-" or char in "0123456789":
            self._state, self._number = _IN_NUMBER, {"-": "-", "0": "zero"}.get(char, "integer")
        else:
            self.error = f"{char!r} where a value belongs"
            return False
        return True

    def _close(self) -> None:
        self._open.pop()
        self._value_ends()

    def _value_ends(self) -> bool:
        self._state = _AFTER_VALUE
        self.done = not self._open
        return self.done

    def _fail(self, at: int, error: str) -> int:
        self.error = error
        return at


_NAMES = {
    _AFTER_VALUE: "',' or the closing bracket",
    _BEFORE_COLON: "':'",
    _BEFORE_KEY: "a key in quotes",
    _BEFORE_FIRST_KEY: "a key in quotes or '}'",
}

# The end of a string that is not whole: part of an escape, or a high surrogate that may be half of a pair.
_NOT_WHOLE = re.compile(
    r"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?)\Z"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


class JsonStringDecoder:
    """What a JSON string holds, from the text between its quotes as it comes (known to be valid).

    A surrogate without its other half stays the escape that it was: no text can hold it, JSON within the string can.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = ""

    def decode(self, text: str, last: bool = False) -> str:
        """The chars that are certain. last: nothing follows."""
        text = self._rest + text
        self._rest = ""
        if not last and (cut := _NOT_WHOLE.search(text)):
            self._rest = text[cut.start(1) :]
            text = text[: cut.start(1)]
        decoded: str = json.loads(f'"{text}"')
        return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", decoded)


def json_string(text: str) -> str:
    """What a whole JSON string, with its quotes, holds."""
    return JsonStringDecoder().decode(text[1:-1], last=True)
