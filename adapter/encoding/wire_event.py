"""Events of a response as they go over the wire, whatever carries them: server-sent events, WebSocket or the store."""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

import orjson

_PADDED_TO = 32  # bytes


class WireEvent(NamedTuple):
    """`data` is the JSON object, on one line; it holds `type` and `sequence_number` too."""

    type: str
    sequence_number: int
    data: bytes


class WireEvents:
    """Makes the events of one response: numbered from 0, without gaps.

    obfuscation: deltas are padded by random characters, so that their size says nothing about their text.
    """

    __slots__ = ("next", "obfuscation")

    def __init__(self, *, obfuscation: bool = False) -> None:
        self.next = 0
        self.obfuscation = obfuscation

    def event(self, type_: str, **fields: Any) -> WireEvent:
        number = self.next
        self.next = number + 1
        return WireEvent(type_, number, orjson.dumps({"type": type_, "sequence_number": number, **fields}))


class Deltas:
    """The deltas of one item or part, which differ in number and text only: the JSON around these is made once.

    Args:
        place: the fields that say what is added to, such as `item_id` and `output_index`.
        logprobs: whether the events of this type have the field; it is an empty list unless a delta brings some.
    """

    __slots__ = ("_after", "_before", "_events", "_place", "_type")

    def __init__(self, events: WireEvents, type_: str, place: dict[str, Any], *, logprobs: bool = False) -> None:
        self._events = events
        self._type = type_
        self._before = orjson.dumps({"type": type_})[:-1] + b',"sequence_number":'
        self._place = b"," + orjson.dumps(place)[1:-1] + b',"delta":'
        self._after = b',"logprobs":[]}' if logprobs else b"}"

    def event(self, text: str, logprobs: list[dict[str, Any]] | None = None) -> WireEvent:
        """`logprobs`: of the text, for a type that has the field."""
        events = self._events
        number = events.next
        events.next = number + 1
        delta = orjson.dumps(text)
        after = self._after
        if logprobs:
            after = b',"logprobs":' + orjson.dumps(logprobs) + b"}"
        if events.obfuscation:
            size = len(delta) + len(after)
            padding = secrets.token_hex(_PADDED_TO)[: _PADDED_TO - size % _PADDED_TO]
            after = b'%s,"obfuscation":"%s"}' % (after[:-1], padding.encode())
        return WireEvent(self._type, number, b"".join((self._before, b"%d" % number, self._place, delta, after)))
