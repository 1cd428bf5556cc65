"""What parsers yield, and what a parser is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Content:
    """Text for the reader. `start` is where it stands in the model's text: `raw[start : start + len(text)] == text`."""

    text: str
    start: int


@dataclass(slots=True)
class Reasoning:
    """Text that the model thinks with; `start` as of `Content`."""

    text: str
    start: int


@dataclass(slots=True)
class CallStart:
    """A tool call has begun: its name is one of the tools, and arguments follow.

    id: the call's id where the model writes one itself; None: one is to be made.
    """

    name: str
    id: str | None = None


@dataclass(slots=True)
class CallArguments:
    """A piece of the JSON text of a call's arguments. All pieces of a call joined are one JSON object."""

    text: str


@dataclass(slots=True)
class CallEnd:
    """The call is complete: its arguments are a JSON object."""


@dataclass(slots=True)
class CallBroken:
    """The call that has begun cannot be one: its arguments are not JSON. Nothing follows.

    reason: what is wrong, for a person.
    """

    reason: str


Parsed = Content | Reasoning | CallStart | CallArguments | CallEnd | CallBroken


class OutputParser(Protocol):
    """Takes one answer's text as it comes and says what each part of it is.

    How the text is cut into calls of `push` makes no difference to what all calls together yield, once neighbouring
    events of one kind are joined. Text is held back only as long as it may be part of a marker. Per answer there are
    any number of Content and Reasoning, and calls of the form CallStart CallArguments* CallEnd, one after another.
    An unfinished call (the answer ended within it) ends without CallEnd.
    """

    @property
    def reasoning(self) -> bool:
        """Whether the model is thinking at the moment: the text pushed so far ends within its reasoning."""
        ...

    def push(self, text: str) -> list[Parsed]:
        """What is certain after this text."""
        ...

    def finish(self) -> list[Parsed]:
        """The rest, at the end of the answer. Called once."""
        ...
