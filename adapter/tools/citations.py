"""Numbers by which the model cites what calls have found."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import NamedTuple

_MARKER = re.compile(r"\[(\d{1,4})\]|【(\d{1,4})】")


class SourceNumbers:
    """From 1 on, through a response with all of its toolboxes: a number in its text names one source."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def number(self, source: Hashable) -> int:
        """The number that the source has, or gets."""
        return self._numbers.setdefault(source, len(self._numbers) + 1)


class Marker(NamedTuple):
    """A number in brackets. start, end: in characters of the text."""

    number: int
    start: int
    end: int


def markers(text: str) -> Iterator[Marker]:
    for found in _MARKER.finditer(text):
        yield Marker(int(found[1] or found[2]), found.start(), found.end())
