"""How many things a large body holds, counted in its bytes: what is made of them is made while nothing else runs.

A parser takes up to a microsecond for an object or a key, and the checks of a field some more, so 16 MiB of nothing but
these hold everybody else's streams for seconds. A pass over the bytes takes a millisecond for each MiB, whatever they
say.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import orjson

from adapter.errors import APIError, invalid_request
from adapter.schema.violations import render

# A conversation of 16,384 messages, every other one a tool call, has 150,000 strings; 2,048 tokens of an earlier answer
# with 20 log probabilities each have 90,000 objects and arrays, and 175,000 strings.
MOST_CONTAINERS = 131_072  # objects and arrays
MOST_STRINGS = 262_144  # the names in objects among them
MOST_COMMAS = 1_310_720  # between elements; more than between the token ids that one request may have

_COUNTED_FROM = 128 << 10  # bytes; what fits in less is parsed in no time
_STEP = 256 << 10  # bytes looked at together: what is made of them stays in the processor's cache
_QUOTE, _COMMA, _OPEN, _CLOSE = b'",{}'
_OTHER_BRACKET = 0x20  # the bit in which [ and ] differ from { and }
_NAME = re.compile(rb'\s*("[^"\\]*(?:\\.[^"\\]*)*")', re.DOTALL)

_Bytes = npt.NDArray[np.uint8]


def check_extent(raw: bytes) -> None:
    """Counts the objects, arrays, strings and elements of a JSON text, which need not be valid.

    Raises:
        APIError: 400, there are too many; `param` is the field in which they become so.
    """
    if len(raw) < _COUNTED_FROM:
        return
    # Escaped quotes end no string; of an escaped backslash the second escapes nothing.
    plain = raw.replace(b"\\\\", b"  ").replace(b'\\"', b"  ") if b"\\" in raw else raw
    data = np.frombuffer(plain, np.uint8)
    containers = closed = quotes = commas = 0
    inside = np.uint8(0)  # 1: within a string
    for start in range(0, len(data), _STEP):
        part = data[start : start + _STEP]
        within = _within_strings(part, inside)
        inside = within[-1]
        outside = within == 0
        bracket = part | _OTHER_BRACKET
        containers += np.count_nonzero((bracket == _OPEN) & outside)
        closed += np.count_nonzero((bracket == _CLOSE) & outside)
        quotes += np.count_nonzero(part == _QUOTE)
        commas += np.count_nonzero((part == _COMMA) & outside)
        if containers > MOST_CONTAINERS or quotes > 2 * MOST_STRINGS or commas > MOST_COMMAS:
            raise _too_many(data[: start + _STEP], raw)
        if closed > containers:  # no JSON: the parser says where, at once
            return


def _within_strings(part: _Bytes, inside: np.uint8) -> _Bytes:
    """1 for each byte of a string, but for its closing quote."""
    quotes = (part == _QUOTE).view(np.uint8)
    return (np.add.accumulate(quotes, dtype=np.uint8) + inside) & np.uint8(1)


def _too_many(data: _Bytes, raw: bytes) -> APIError:
    """400, naming the field in which the first of the limits is passed."""
    outside = _within_strings(data, np.uint8(0)) == 0
    passed: list[tuple[int, int, str]] = []
    for found, most, each, noun in (
        (((data | _OTHER_BRACKET) == _OPEN) & outside, MOST_CONTAINERS, 1, "objects and arrays"),
        (data == _QUOTE, MOST_STRINGS, 2, "strings, the names of fields among them"),
        ((data == _COMMA) & outside, MOST_COMMAS, 1, "elements"),
    ):
        places = np.flatnonzero(found)
        if len(places) > each * most:
            passed.append((int(places[each * most]), most, noun))
    end, most, noun = min(passed)
    param = _field_at(data[: end + 1], outside[: end + 1], raw)
    where = f"Invalid '{param}': " if param else ""
    message = f"{where}the body of a request may have up to {most} {noun}, and this one has more."
    return invalid_request(message[0].upper() + message[1:], param, "too_many_elements")


def _field_at(data: _Bytes, outside: npt.NDArray[np.bool_], raw: bytes) -> str | None:
    """The field of the outermost object that the end of `data` is in."""
    bracket = data | _OTHER_BRACKET
    places = np.flatnonzero(((bracket == _OPEN) | (bracket == _CLOSE)) & outside)
    depth = np.cumsum(np.where(bracket[places] == _OPEN, 1, -1))
    level = np.flatnonzero(depth == 1)
    if not len(level):
        return None
    # From here to the next bracket, which leads inward, fields follow one another.
    start = int(places[level[-1]])
    end = int(places[level[-1] + 1]) if level[-1] + 1 < len(places) else len(data)
    commas = np.flatnonzero((data[start:end] == _COMMA) & outside[start:end])
    name = _NAME.match(raw, start + (int(commas[-1]) if len(commas) else 0) + 1)
    if name is None:
        return None
    try:
        return render([orjson.loads(name[1])])
    except orjson.JSONDecodeError:
        return None
