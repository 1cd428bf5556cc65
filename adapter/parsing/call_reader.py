"""What a grammar of calls reads from and writes to: text that comes in pieces, held until it is known what it is.

A grammar is a generator that reads the text of calls from their first marker to their last. It yields when it needs
more text, and raises NotACall where the text stops being what it reads: what is held is content then.

Whitespace: text before a call is kept as it is, unless it is whitespace only; whitespace right after a call is
dropped. All this holds only for answers with calls: an answer without any is content, char by char.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from typing import NoReturn, TypeVar

from adapter.parsing.json_text import JsonScanner
from adapter.parsing.parsed import CallArguments, CallBroken, CallEnd, CallStart, Content, Parsed

MAX_WORD = 256
"""Chars of a name, an id or a key, at most."""

MAX_HELD = 1 << 18
"""Chars of arguments that may be held until the name that stands after them, at most."""

T = TypeVar("T")
Reading = Generator[None, None, T]


class NotACall(Exception):
    """The text that is being read is no call."""


class AnswerEnded(Exception):
    """The answer ended within the text that is being read."""


class CallReader:
    """The text of an answer, and what has been found in it.

    text, at: the text at hand, and how far it has been read; base: where the text at hand begins in the answer.
    ended: no more text will come.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.text = ""
        self.at = 0
        self.base = 0
        self.ended = False
        self.events: list[Parsed] = []
        self.ids: set[str] = set()
        self.any_call = False  # the answer has a call
        self.made = False  # this run of the grammar has made a call
        self.in_call = False
        self.closing = False  # after a call, before the next one of the same run
        self.broken = False
        self.plain = False  # the last text was content: more of it needs no care for whitespace
        self._names = names
        self._known = True  # the call that is being read is one: its name is known
        self._mark = 0  # text[_mark:at] is held, and before it _held
        self._held: list[str] = []
        self._held_length = 0
        self._blank = ""  # whitespace at the very beginning

    # ---- text

    def add(self, piece: str) -> None:
        """More text."""
        if self._mark < self.at:
            if self._known:
                self._held.append(self.text[self._mark : self.at])
                self._held_length += self.at - self._mark
            else:
                self.release()
        self.base += self.at
        self.text = self.text[self.at :] + piece if self.at < len(self.text) else piece
        self.at = self._mark = 0

    def begin(self) -> None:
        """A run of a grammar begins here."""
        self.made = self.in_call = self.closing = False
        self._known = True
        self._mark = self.at

    def begin_item(self) -> None:
        """A further call of the same run may begin here."""
        if self.made:
            self.drop()
        else:
            self.release()
        self.closing = False
        self._known = True

    def release(self) -> None:
        """What is held is content."""
        text = self.text[self._mark : self.at]
        if self._held:
            text = "".join(self._held) + text
        start = self.base + self._mark - self._held_length
        self.drop()
        if text:
            self.content(text, start)

    def drop(self) -> None:
        """What is held is markers."""
        if self._held:
            self._held.clear()
            self._held_length = 0
        self._mark = self.at

    def content(self, text: str, start: int) -> None:
        """Content, but for whitespace that goes with calls."""
        if not self.plain:
            bare = text.lstrip()
            if self.any_call:
                start += len(text) - len(bare)
                text = bare
            elif bare:
                text, start, self._blank = self._blank + text, start - len(self._blank), ""
            else:
                self._blank += text
            if not bare:
                return
            self.plain = True
        self.events.append(Content(text, start))

    def end(self) -> None:
        """The answer has ended: whitespace is content where there was no call."""
        if self._blank and not self.any_call:
            self.events.append(Content(self._blank, 0))

    # ---- reading

    def peek(self) -> Reading[str]:
        """The next char."""
        while self.at == len(self.text):
            if self.ended:
                raise AnswerEnded
            yield
        return self.text[self.at]

    def after_space(self) -> Reading[str]:
        """The next char that is no whitespace."""
        while True:
            char = yield from self.peek()
            if char not in " \t\r\n":
                return char
            self.at += 1

    def accept(self, *literals: str) -> Reading[str]:
        """Reads one of the literals (longer ones first) if it comes next; "" and nothing read otherwise."""
        while True:
            waiting = False
            for literal in literals:
                there = self.text[self.at : self.at + len(literal)]
                if there == literal and (self.ended or not waiting):
                    self.at += len(literal)
                    return literal
                waiting = waiting or literal.startswith(there)
            if not waiting:
                return ""
            if self.ended:
                raise AnswerEnded
            yield

    def expect(self, *literals: str) -> Reading[str]:
        """Reads one of the literals."""
        literal = yield from self.accept(*literals)
        if not literal:
            raise NotACall
        return literal

    def word(self, stops: str) -> Reading[str]:
        """The text before the first char of `stops`."""
        chars: list[str] = []
        while (char := (yield from self.peek())) not in stops:
            if len(chars) == MAX_WORD:
                raise NotACall
            chars.append(char)
            self.at += 1
        return "".join(chars)

    def value(self, limit: int = MAX_HELD) -> Reading[str]:
        """The text of one JSON value, not of a call that has begun."""
        yield from self.after_space()
        scanner = JsonScanner()
        pieces: list[str] = []
        while True:
            start = self.at
            stop = min(len(self.text), start + limit)
            self.at = scanner.feed(self.text, start, stop)
            limit -= self.at - start
            pieces.append(self.text[start : self.at])
            if scanner.done:
                return "".join(pieces)
            if scanner.error is not None or not limit:
                raise NotACall
            yield from self.peek()

    # ---- calls

    def start_call(self, name: str, id: str | None = None) -> None:
        """The arguments of a call begin. If there is no such tool, the call stays content."""
        self.name_known(name)
        if not self._known:
            return
        self.drop()
        if id is not None:
            if id in self.ids:
                id = None
            else:
                self.ids.add(id)
        self.events.append(CallStart(name, id))
        self.made = self.any_call = self.in_call = True
        self.plain = False
        self._blank = ""

    def name_known(self, name: str) -> None:
        """A call of this name is being read."""
        if name not in self._names:
            self._known = False
            self.release()

    def arguments(self, text: str) -> None:
        """Arguments of the call."""
        if self._known and text:
            self.events.append(CallArguments(text))

    def end_call(self) -> None:
        """The call is complete."""
        if self._known:
            self.in_call = False
            self.closing = True
            self.drop()
            self.events.append(CallEnd())
        elif self.made:
            self.release()
            self._known = self.closing = True

    def pass_on(self) -> None:
        """Within a call: what has been read has been passed on."""
        if self._known:
            self._mark = self.at

    def fail_call(self, reason: str) -> NoReturn:
        """The arguments are no JSON object."""
        if self._known:
            self.broken = True
            self.events.append(CallBroken(reason))
        raise NotACall


Grammar = Callable[[CallReader], Reading[None]]
