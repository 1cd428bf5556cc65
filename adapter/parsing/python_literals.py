"""Python literals as JSON text, while they are read. Source: Python's language reference, "Lexical analysis"."""

from __future__ import annotations

import json
import re

from adapter.parsing.call_reader import MAX_HELD, MAX_WORD, CallReader, NotACall, Reading
from adapter.parsing.json_text import MAX_DEPTH

_WORDS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_STRING_BEGINS = tuple(prefix + quote for prefix in ("", "r", "R", "u", "U") for quote in "'\"")
_PLAIN = re.compile(r"[^'\"\\]+")
_LONGEST_NUMBER = 1024

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\n": ""} | {
    char: char for char in "\\'\""
}
_HEX = {"x": 2, "u": 4, "U": 8}

_DIGITS = r"[0-9](?:_?[0-9])*"
_BASED = re.compile(r"0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+")
_INTEGER = re.compile(r"0(?:_?0)*|[1-9](?:_?[0-9])*")
_FLOAT = re.compile(rf"(?=\.?[0-9])({_DIGITS})?(?:(\.)({_DIGITS})?)?([eE][+-]?{_DIGITS})?")


class PythonLiteral:
    """Writes one literal, of a call that has begun, as JSON: strings as they come.

    Tuples are arrays; keys that are numbers or words are strings, as `json.dumps` has them. Strings may hold raw line
    breaks, and true, false and null may be written as in JSON (LFM2 does both). What JSON has no form for (sets,
    bytes, complex numbers), and what is no literal (names, calls, operators), breaks the call.
    """

    def __init__(self, reader: CallReader) -> None:
        self._reader = reader
        self._depth = 0
        self._held: list[list[str]] = []  # JSON that waits, for each parenthesis that may open a tuple or not
        self._held_length = 0

    def read(self) -> Reading[None]:
        """Reads the literal, from its first char on."""
        reader = self._reader
        char = yield from reader.after_space()
        if char in "[{(":
            self._depth += 1
            if self._depth > MAX_DEPTH:
                reader.fail_call(f"nested more than {MAX_DEPTH} deep")
            reader.at += 1
            yield from {"[": self._list, "{": self._dict, "(": self._parenthesis}[char]()
            self._depth -= 1
        else:
            yield from self._scalar(char)

    def _write(self, text: str) -> None:
        if not self._held:
            self._reader.arguments(text)
        else:
            self._held[-1].append(text)
            self._held_length += len(text)
            if self._held_length > MAX_HELD:
                self._reader.fail_call(f"more than {MAX_HELD:,} characters within parentheses")
        self._reader.pass_on()

    def _list(self) -> Reading[None]:
        self._write("[")
        if (yield from self._reader.after_space()) != "]":
            yield from self.read()
            yield from self._items("]")
        self._reader.at += 1
        self._write("]")

    def _items(self, closing: str) -> Reading[None]:
        """The items after the first one, up to the closing bracket."""
        while (yield from self._another(closing)):
            self._write(", ")
            yield from self.read()

    def _another(self, closing: str) -> Reading[bool]:
        """Whether another item follows: reads the comma, and not the bracket."""
        reader = self._reader
        char = yield from reader.after_space()
        if char == ",":
            reader.at += 1
            char = yield from reader.after_space()
        elif char != closing:
            reader.fail_call(f"{char!r} where ',' or {closing!r} belongs")
        return char != closing

    def _parenthesis(self) -> Reading[None]:
        """A tuple, or one literal within parentheses, which only the comma tells apart."""
        reader = self._reader
        if (yield from reader.after_space()) == ")":
            reader.at += 1
            self._write("[]")
            return
        self._held.append([])
        yield from self.read()
        comma = (yield from reader.after_space()) == ","
        first = "".join(self._held.pop())
        self._held_length -= len(first)
        if comma:
            self._write("[" + first)
            yield from self._items(")")
            self._write("]")
        else:
            yield from self._another(")")
            self._write(first)
        reader.at += 1

    def _dict(self) -> Reading[None]:
        reader = self._reader
        self._write("{")
        more = (yield from reader.after_space()) != "}"
        while more:
            yield from self._key()
            self._write(": ")
            yield from self.read()
            more = yield from self._another("}")
            if more:
                self._write(", ")
        reader.at += 1
        self._write("}")

    def _key(self) -> Reading[None]:
        reader = self._reader
        char = yield from reader.peek()
        if char in "[{(":
            reader.fail_call(f"{char!r} where a key belongs")
        yield from self._scalar(char, key=True)
        char = yield from reader.after_space()
        if char != ":":
            reader.fail_call(f"{char!r} where ':' belongs")
        reader.at += 1

    def _scalar(self, char: str, key: bool = False) -> Reading[None]:
        reader = self._reader
        if begin := (yield from reader.accept(*_STRING_BEGINS)):
            yield from self._strings(begin)
            return
        if char in "+-.0123456789":
            text = yield from self._number(char)
        else:
            word = yield from name(reader, "_")
            if word not in _WORDS:
                reader.fail_call(f"{word[:40] or char!r} is no literal")
            text = _WORDS[word]
        self._write(f'"{text}"' if key else text)

    def _number(self, char: str) -> Reading[str]:
        """A number as JSON. Its digits stay as they are, so that no number changes."""
        reader = self._reader
        sign = ""
        if char in "+-":
            sign = char.strip("+")
            reader.at += 1
            yield from reader.after_space()
        chars: list[str] = []
        while True:
            char = yield from reader.peek()
            exponent = char in "+-" and chars[-1:] in (["e"], ["E"]) and chars[1:2] not in (["x"], ["X"])
            if not (char.isalnum() or char in "._" or exponent):
                break
            chars.append(char)
            reader.at += 1
            if len(chars) > _LONGEST_NUMBER:
                reader.fail_call(f"a number is longer than {_LONGEST_NUMBER} characters")
        text = "".join(chars)
        if _BASED.fullmatch(text):
            return sign + str(int(text, 0))
        if _INTEGER.fullmatch(text):
            return sign + (text.replace("_", "").lstrip("0") or "0")
        match = _FLOAT.fullmatch(text)
        if match is None or not (match[2] or match[4]):
            reader.fail_call(f"{text[:40] or char!r} is no number")
        whole, point, fraction, power = (part.replace("_", "") if part else "" for part in match.groups())
        return sign + (whole.lstrip("0") or "0") + (f".{fraction or '0'}" if point else "") + power

    def _strings(self, begin: str) -> Reading[None]:
        """A string, and those that stand beside it, as one."""
        reader = self._reader
        self._write('"')
        while begin:
            yield from self._string(begin[-1], raw=begin[0] in "rR")
            yield from reader.after_space()
            begin = yield from reader.accept(*_STRING_BEGINS)
        self._write('"')

    def _string(self, quote: str, raw: bool) -> Reading[None]:
        """The text after the first quote, and the last one."""
        reader = self._reader
        end = quote
        if (yield from reader.accept(quote * 2)):
            end = quote * 3
        elif (yield from reader.accept(quote)):
            return
        while True:
            yield from reader.peek()
            run = _PLAIN.match(reader.text, reader.at)
            if run is not None:
                reader.at = run.end()
                self._text(run[0])
            elif reader.text[reader.at] == "\\":
                reader.at += 1
                yield from self._escape(raw)
            elif (yield from reader.accept(end)):
                return
            else:
                reader.at += 1
                self._text(reader.text[reader.at - 1])

    def _escape(self, raw: bool) -> Reading[None]:
        """What follows a backslash. One that escapes nothing stays, as in Python."""
        reader = self._reader
        char = yield from reader.peek()
        reader.at += 1
        if raw:
            self._text("\\" + char)
        elif char in _ESCAPES:
            self._text(_ESCAPES[char])
        elif char in "01234567":
            digits = char
            while len(digits) < 3 and (char := (yield from reader.peek())) in "01234567":
                digits += char
                reader.at += 1
            self._text(chr(int(digits, 8)))
        elif char in _HEX:
            digits = ""
            while len(digits) < _HEX[char]:
                digit = yield from reader.peek()
                if digit not in "0123456789abcdefABCDEF":
                    reader.fail_call(f"{digit!r} within a \\{char} escape")
                digits += digit
                reader.at += 1
            if int(digits, 16) > 0x10FFFF:
                reader.fail_call(f"the escape \\{char}{digits}")
            self._text(chr(int(digits, 16)))
        elif char == "N":
            reader.fail_call("the escape \\N")
        else:
            self._text("\\" + char)

    def _text(self, text: str) -> None:
        """Text of a string, as JSON has it. Halves of surrogates stay escapes: no answer's text can hold them."""
        lone = len(text) == 1 and "\ud800" <= text <= "\udfff"
        self._write(json.dumps(text, ensure_ascii=lone)[1:-1])


def name(reader: CallReader, further: str) -> Reading[str]:
    """The letters, digits and chars of `further` that come next; "" if there are none."""
    chars: list[str] = []
    while (char := (yield from reader.peek())).isalnum() or char in further:
        if len(chars) == MAX_WORD:
            raise NotACall
        chars.append(char)
        reader.at += 1
    return "".join(chars)
