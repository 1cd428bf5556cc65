"""Grammars of calls written as JSON, for the families to build on."""

from __future__ import annotations

import json
import re

from adapter.parsing.call_reader import CallReader, NotACall, Reading
from adapter.parsing.json_text import JsonScanner, JsonStringDecoder, json_string

_ARGUMENT_KEYS = frozenset({"arguments", "parameters"})
_BARE_KEYS = _ARGUMENT_KEYS | {"name", "id", "type"}
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
_SPACE = " \t\r\n"


def call_object_begin(name: str, arguments_key: str = "arguments") -> str:
    """A call's object up to its arguments, as chat templates write it."""
    return f'{{"name": {json.dumps(name)}, "{arguments_key}": '


def arguments(reader: CallReader, name: str, id: str | None = None, absent: str = "") -> Reading[None]:
    """The arguments of a call of `name`: an object, a string that holds one, or nothing (null, "", or `absent`)."""
    char = yield from reader.after_space()
    if char == "{":
        reader.start_call(name, id)
        yield from _object(reader)
    elif char == '"':
        yield from _object_in_string(reader, name, id)
    elif char == "n":
        yield from reader.expect("null")
        _no_arguments(reader, name, id)
    elif absent and char == absent[0]:
        _no_arguments(reader, name, id)
    else:
        raise NotACall


def call_object(reader: CallReader, bare: bool = False) -> Reading[None]:
    """`{"name": ..., "arguments": {...}}`, keys in any order.

    bare: the object stands without a marker, so that further keys say that it is no call.
    """
    yield from reader.expect("{")
    name: str | None = None
    id: str | None = None
    held: str | None = None
    ended = False
    after = "{"
    while True:
        char = yield from reader.after_space()
        if char == "}" and after != ",":
            reader.at += 1
            break
        if after == "v":
            if char != ",":
                if ended:
                    return  # the arguments are complete: that the object is not closed harms nobody
                raise NotACall
            reader.at += 1
            after = ","
            continue
        if char != '"':
            raise NotACall
        key = json_string((yield from reader.value(512)))
        if bare and not ended and key not in _BARE_KEYS:
            raise NotACall
        yield from reader.after_space()
        yield from reader.expect(":")
        if key == "name" and name is None:
            if (yield from reader.after_space()) != '"':
                raise NotACall
            name = json_string((yield from reader.value(512)))
            reader.name_known(name)
        elif key in _ARGUMENT_KEYS and not ended and held is None:
            if name is not None:
                yield from arguments(reader, name, id)
                ended = True
            else:
                held = _as_arguments((yield from reader.value()))
        else:
            text = yield from reader.value()
            if key == "id" and text[0] == '"' and _ID.match(json_string(text)):
                id = json_string(text)
        after = "v"
    if ended:
        return
    if name is None:
        raise NotACall
    if held is None:
        _no_arguments(reader, name, id)
    else:
        reader.start_call(name, id)
        reader.arguments(held)
        reader.end_call()


def call_array(reader: CallReader, bare: bool = False) -> Reading[None]:
    """`[{...}, {...}]`, or one such object without the brackets."""
    char = yield from reader.after_space()
    if char != "[":
        yield from call_object(reader, bare)
        return
    reader.at += 1
    yield from call_array_items(reader, bare)


def call_array_items(reader: CallReader, bare: bool = False) -> Reading[None]:
    """What follows the opening bracket of an array of calls."""
    yield from reader.after_space()
    yield from call_object(reader, bare)
    while True:
        char = yield from reader.after_space()
        if char == "]":
            reader.at += 1
            return
        yield from reader.expect(",")
        yield from reader.after_space()
        reader.begin_item()
        yield from call_object(reader, bare)


def bare_calls(reader: CallReader) -> Reading[None]:
    """Objects or arrays of calls one after another, also with `;` or `,` between them, or each in a fence."""
    while True:
        fence = yield from reader.accept("```json", "```")
        yield from call_array(reader, bare=True)
        while True:
            char = yield from reader.after_space()
            if char in ";,":
                reader.at += 1
            elif char in "{[":
                reader.begin_item()
                yield from call_array(reader, bare=True)
            else:
                break
        if fence:
            yield from reader.expect("```")
            char = yield from reader.after_space()
        if char not in "`{[":
            return
        reader.begin_item()


def _no_arguments(reader: CallReader, name: str, id: str | None) -> None:
    reader.start_call(name, id)
    reader.arguments("{}")
    reader.end_call()


def _object(reader: CallReader) -> Reading[None]:
    """The object of arguments, passed on as it comes."""
    scanner = JsonScanner()
    while True:
        start = reader.at
        reader.at = scanner.feed(reader.text, start)
        reader.arguments(reader.text[start : reader.at])
        reader.pass_on()
        if scanner.done:
            reader.end_call()
            return
        if scanner.error is not None:
            reader.fail_call(scanner.error)
        yield from reader.peek()


def _object_in_string(reader: CallReader, name: str, id: str | None) -> Reading[None]:
    """A string that holds the object."""
    outer, decoder = JsonScanner(), JsonStringDecoder()
    reader.at = outer.feed(reader.text, reader.at, reader.at + 1)
    head = ""
    while not head.startswith("{"):  # char by char: what comes first decides
        yield from reader.peek()
        start = reader.at
        reader.at = outer.feed(reader.text, start, start + 1)
        if outer.done:
            if head not in ("", "null"):
                raise NotACall
            _no_arguments(reader, name, id)
            return
        if outer.error is not None:
            raise NotACall
        head = (head + decoder.decode(reader.text[start : reader.at])).strip(_SPACE)
        if not head.startswith("{") and not "null".startswith(head):
            raise NotACall
    reader.start_call(name, id)
    inner = JsonScanner()
    text = head
    while True:
        if not inner.done:
            end = inner.feed(text)
            reader.arguments(text[:end])
            text = text[end:]
        if inner.error is not None:
            reader.fail_call(inner.error)
        if text.strip(_SPACE):
            reader.fail_call("text after the arguments' object")
        reader.pass_on()
        if outer.error is not None:
            reader.fail_call(outer.error)
        if outer.done:
            if not inner.done:
                reader.fail_call("the string ends within the arguments' object")
            reader.end_call()
            return
        yield from reader.peek()
        start = reader.at
        reader.at = outer.feed(reader.text, start)
        text = decoder.decode(reader.text[start : reader.at - outer.done], last=outer.done)


def _as_arguments(value: str) -> str:
    """Arguments that were held, as their JSON text."""
    if value.startswith('"'):
        value = json_string(value).strip(_SPACE)
    if value in ("", "null"):
        return "{}"
    scanner = JsonScanner()
    if not value.startswith("{") or scanner.feed(value) != len(value) or not scanner.done:
        raise NotACall
    return value
