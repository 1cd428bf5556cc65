"""An answer cut into pieces in every way that matters, and what every parser has to hold to (see `parsed.py`).

`parse(make, text)` is what most tests need: it feeds the text whole, cut in two at every point, char by char and in
random cuts, checks each run, and returns the one result that all of them have in common.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from adapter.parsing.parsed import (
    CallArguments,
    CallBroken,
    CallEnd,
    CallStart,
    Content,
    OutputParser,
    Parsed,
    Reasoning,
)

RANDOM_CUTS = 8
"""How many random cuttings `parse` tries."""

EVERY_POINT_UP_TO = 2_000
"""Texts over this length are cut in two at a sample of points only: every point is quadratic."""


@dataclass(frozen=True)
class Call:
    """A call as a test states it.

    arguments: the JSON text, exactly.
    end: how it ends: `complete`, `unfinished` or `broken`.
    """

    name: str
    arguments: str
    id: str | None = None
    end: str = "complete"


def parse(make: Callable[[], OutputParser], text: str) -> list[Parsed]:
    """The joined events of `text`, the same for every cutting.

    make: gives a new parser.
    """
    whole = run(make(), [text])
    for pieces in cuttings(text):
        assert run(make(), pieces) == whole, f"cut into {_shown(pieces)}"
    return whole


def run(parser: OutputParser, pieces: Sequence[str]) -> list[Parsed]:
    """What a parser yields for these pieces, neighbours joined and the invariants checked."""
    events: list[Parsed] = []
    for piece in pieces:
        events += parser.push(piece)
    events += parser.finish()
    result = joined(events)
    check(result, "".join(pieces))
    return result


def cuttings(text: str) -> Iterator[list[str]]:
    """The text cut in two at every point, char by char, and in random pieces (the same ones for the same text)."""
    yield list(text)
    random_source = random.Random(text)
    points: Iterable[int] = range(1, len(text))
    if len(text) > EVERY_POINT_UP_TO:
        points = random_source.sample(points, 50)
    for point in points:
        yield [text[:point], text[point:]]
    for _ in range(RANDOM_CUTS):
        yield random_pieces(text, random_source)


def random_pieces(text: str, random_source: random.Random) -> list[str]:
    """The text in pieces of 0 to 9 chars, as tokens are."""
    pieces = []
    at = 0
    while at < len(text):
        size = random_source.randint(0, 9)
        pieces.append(text[at : at + size])
        at += size
    return pieces


def joined(events: Iterable[Parsed]) -> list[Parsed]:
    """Neighbouring events of one kind made one. Texts that do not stand next to each other in the answer stay apart."""
    result: list[Parsed] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, CallArguments):
            assert event.text, "an event without text"
            if isinstance(last, CallArguments):
                result[-1] = CallArguments(last.text + event.text)
                continue
        elif isinstance(event, Content | Reasoning):
            assert event.text, "an event without text"
            same = isinstance(last, Content | Reasoning) and type(last) is type(event)
            if same and last.start + len(last.text) == event.start:
                result[-1] = type(event)(last.text + event.text, last.start)
                continue
        result.append(event)
    return result


def check(events: Iterable[Parsed], raw: str) -> None:
    """The invariants of every parser: calls are well-formed, and texts stand where they say, in order."""
    inside: str | None = None  # the arguments so far of the call that is open
    at = 0  # texts so far end here
    broken = False
    for event in events:
        assert not broken, f"{event} after CallBroken"
        if isinstance(event, CallStart):
            assert inside is None, f"{event} within a call"
            assert event.name
            inside = ""
        elif isinstance(event, CallArguments):
            assert inside is not None, f"{event} outside a call"
            inside += event.text
        elif isinstance(event, CallEnd):
            assert inside is not None, "CallEnd outside a call"
            assert isinstance(json.loads(inside), dict), f"the arguments are no object: {inside}"
            inside = None
        elif isinstance(event, CallBroken):
            assert inside is not None, "CallBroken outside a call"
            assert event.reason
            broken = True
        else:
            assert inside is None, f"{event} within a call"
            assert event.start >= at, f"{event} overlaps what came before"
            at = event.start + len(event.text)
            assert raw[event.start : at] == event.text, f"{event} stands elsewhere"


def content_of(events: Iterable[Parsed]) -> str:
    """All content, joined."""
    return "".join(event.text for event in events if isinstance(event, Content))


def reasoning_of(events: Iterable[Parsed]) -> str:
    """All reasoning, joined."""
    return "".join(event.text for event in events if isinstance(event, Reasoning))


def calls_of(events: Iterable[Parsed]) -> list[Call]:
    """The calls, in order."""
    calls: list[Call] = []
    for event in events:
        if isinstance(event, CallStart):
            calls.append(Call(event.name, "", event.id, "unfinished"))
        elif isinstance(event, CallArguments):
            last = calls.pop()
            calls.append(Call(last.name, last.arguments + event.text, last.id, last.end))
        elif isinstance(event, CallEnd | CallBroken):
            last = calls.pop()
            calls.append(
                Call(last.name, last.arguments, last.id, "complete" if isinstance(event, CallEnd) else "broken")
            )
    return calls


def _shown(pieces: Sequence[str]) -> str:
    return repr(pieces) if len(pieces) < 20 else f"{len(pieces)} pieces of {max(map(len, pieces))} chars at most"
