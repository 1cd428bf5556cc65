"""Harmony, the form of gpt-oss: an answer is messages on channels. Source: OpenAI's guide to the harmony format.

A message is `<|start|>assistant`, its header, `<|message|>`, its text, and `<|end|>`, `<|call|>` or `<|return|>`. The
header holds `<|channel|>NAME` and may hold ` to=RECIPIENT`, before the channel or after it, and the type of the text
(`<|constrain|>json`). The prompt ends with `<|start|>assistant`, so that an answer begins within a header, and
`<|call|>` and `<|return|>` end the answer as its end tokens, which are no part of its text.

Read as text: the library `openai-harmony` wants token ids of a vocabulary of its own that it fetches from elsewhere.
So a marker that the model spells out as a quotation in its text is taken for the marker, but not within a call's JSON.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from adapter.parsing.harmony_messages import harmony_messages
from adapter.parsing.held_back import held_back
from adapter.parsing.json_text import JsonScanner
from adapter.parsing.parsed import CallArguments, CallBroken, CallEnd, CallStart, Content, Parsed, Reasoning
from adapter.parsing.tool_format import CallSyntax, MessageSyntax, Tool, ToolFormat

_START, _CHANNEL, _CONSTRAIN, _MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
_FUNCTIONS = "functions."
_NOBODY = frozenset({"assistant", "user", "all"})
"""Recipients that are no tools: the message is said, not a call."""

MAX_HEADER = 512
"""Chars up to the end of `<|message|>`, at most; what is longer is no header."""

_TEXT_MARKERS = (*_ENDS, _START, _CHANNEL)
_TEXT_MARKER = re.compile("|".join(map(re.escape, _TEXT_MARKERS)))
_HEADER_MARKER = re.compile("|".join(map(re.escape, (*_ENDS, _START, _MESSAGE))))
_MARKERS = (*_TEXT_MARKERS, _CONSTRAIN, _MESSAGE)
_LONGEST_MARKER = max(map(len, _MARKERS))
_OPENINGS = (_START, _CHANNEL, _CONSTRAIN, _MESSAGE, *_ENDS)
_HEADER_PART = re.compile(
    r"\s*(?:<\|channel\|>\s*(?P<channel>[^\s<]+)|(?P<constrain><\|constrain\|>)|(?P<word>[^\s<]+))"
)
_CUT_OFF = re.compile(r"(?:<\|channel\|>\s*|\bto=)\Z")
_CUT_RECIPIENT = re.compile(r"\s*(?:assistant)?\s*to=functions\.[^\s<]*\s*")
_NOT_BLANK = re.compile(r"\S")
_RECIPIENT = re.compile(r"to=[^\s<]*")


class Harmony(ToolFormat):
    """Reasoning on the channel `analysis`; calls are messages to `functions.NAME`; all else is for the reader.

    What is addressed to no tool of the request stays text, header and all, and so does what is no message.
    """

    special_tokens = frozenset(_MARKERS)
    reasons = True
    syntax = CallSyntax(
        end="<|call|>", triggers=(f"{_CHANNEL}commentary to={_FUNCTIONS}",), separator=f"{_START}assistant"
    )
    messages = MessageSyntax(
        separator=f"{_START}assistant",
        thought=(f"{_CHANNEL}analysis{_MESSAGE}", "<|end|>"),
        preamble=(f"{_CHANNEL}commentary{_MESSAGE}", "<|end|>"),
        answer=(f"{_CHANNEL}final{_MESSAGE}", "<|return|>"),
    )

    def parser(self, tools: Sequence[Tool]) -> HarmonyParser:
        return HarmonyParser([tool.name for tool in tools])

    def parser_after(self, prompt: str, tools: Sequence[Tool]) -> HarmonyParser:
        return HarmonyParser([tool.name for tool in tools], prompt)

    def template_messages(self, messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        return harmony_messages(messages)

    def call_begin(self, name: str) -> str:
        return f"{_CHANNEL}commentary to={_FUNCTIONS}{name} {_CONSTRAIN}json{_MESSAGE}"


@dataclass(frozen=True)
class _Header:
    """channel, recipient: empty where there is none."""

    channel: str = ""
    recipient: str = ""


class _State(Enum):
    BETWEEN = "between"  # a header may come
    TEXT = "text"
    CALL = "call"
    BROKEN = "broken"


class HarmonyParser:
    """One answer.

    Args:
        names: of the tools that may be called.
        prompt: where it ends within a message, the answer goes on with that message.
    """

    def __init__(self, names: Collection[str], prompt: str = "") -> None:
        self._names = frozenset(names)
        self._text = ""
        self._at = 0  # read up to here
        self._base = 0  # where `_text` begins in the answer
        self._state = _State.BETWEEN
        self._kind: type[Content | Reasoning] = Content
        self._whole = False  # the message stays text as it is, with its marker at the end
        self._ended = True  # the message before has its marker at the end; there was none, or a call
        self._after_call = False
        self._scanner: JsonScanner | None = None  # None: no argument yet
        self._begun = ""  # the part of the first header that is in the prompt
        self._begin_within(prompt)

    @property
    def reasoning(self) -> bool:
        return self._kind is Reasoning and self._state in (_State.TEXT, _State.BETWEEN)

    def push(self, text: str) -> list[Parsed]:
        if self._state is _State.BROKEN:
            return []
        self._text += text
        return self._read(last=False)

    def finish(self) -> list[Parsed]:
        return self._read(last=True)

    def _begin_within(self, prompt: str) -> None:
        start = prompt.rfind(_START)
        if start < 0:
            return
        last = prompt[start + len(_START) :]
        marker = _HEADER_MARKER.search(last)
        if marker is None:
            self._begun = last if _CHANNEL in last else ""
        elif marker[0] == _MESSAGE and not any(end in last for end in _ENDS):
            header = _header(last[: marker.start()])
            self._state = _State.TEXT
            self._kind = Reasoning if header is not None and header.channel == "analysis" else Content

    def _read(self, *, last: bool) -> list[Parsed]:
        parsed: list[Parsed] = []
        going = True
        while going and self._state is not _State.BROKEN:
            if self._state is _State.BETWEEN:
                going = self._between(parsed, last=last)
            elif self._state is _State.TEXT:
                going = self._message(parsed, last=last)
            else:
                going = self._call(parsed)
        self._base += self._at
        self._text = self._text[self._at :]
        self._at = 0
        return parsed

    # ---- headers. Every step returns whether there is more to do with the text at hand.

    def _between(self, parsed: list[Parsed], *, last: bool) -> bool:
        text = self._text[self._at : self._at + MAX_HEADER]
        full = len(text) == MAX_HEADER
        opening = _opening(text)
        if opening is None and not full and not last:
            return False
        marker = len(_START) if opening == _START else 0
        if opening in _ENDS:
            assert opening is not None
            self._at += text.index(opening) + len(opening)
            return True
        if opening:
            blank = len(text) - len(text.lstrip())
            found = _HEADER_MARKER.search(text, blank + marker)
            if found is None and not full and not last:
                return False
            if found is not None and found[0] == _MESSAGE:
                begun, start = ("", blank + marker) if marker else (self._begun, 0)
                header = _header(begun + text[start : found.start()])
                self._open(header, found.end(), parsed)
                return True
            if found is None and not full and self._ended and _cut_header(text[blank + marker :]):
                # The answer ends within a header, which is no text.
                self._at += len(text)
                return False
        elif opening is None and not full and _CUT_RECIPIENT.fullmatch(text):
            self._at += len(text)
            return False
        return self._no_header(text, opening, parsed)

    def _no_header(self, text: str, opening: str | None, parsed: list[Parsed]) -> bool:
        blank = len(text) - len(text.lstrip())
        if self._after_call:
            self._at += blank
        elif blank:
            self._emit(blank, parsed)
        self._state, self._whole, self._after_call, self._begun = _State.TEXT, False, False, ""
        if opening and text.startswith(opening, blank):
            self._emit(len(opening), parsed)  # so that it is not looked at again
        return True

    def _open(self, header: _Header | None, end: int, parsed: list[Parsed]) -> None:
        """A message; without a header, one of somebody else."""
        self._after_call = False
        self._begun = ""
        self._state = _State.TEXT
        recipient = "" if header is None or header.recipient in _NOBODY else header.recipient
        name = recipient.removeprefix(_FUNCTIONS)
        if header is not None:
            self._kind = Reasoning if header.channel == "analysis" else Content
        self._whole = header is None or (recipient != "" and name not in self._names)
        if self._whole:
            self._emit(end, parsed)
            return
        self._at += end
        if recipient:
            self._kind = Content
            self._state, self._scanner = _State.CALL, None
            parsed.append(CallStart(name))

    # ---- messages

    def _message(self, parsed: list[Parsed], *, last: bool) -> bool:
        found = _TEXT_MARKER.search(self._text, self._at)
        if found is None:
            start = max(self._at, len(self._text) - _LONGEST_MARKER)
            kept = 0 if last else held_back(self._text[start:], _TEXT_MARKERS)
            self._emit(len(self._text) - kept - self._at, parsed)
            return False
        self._emit(found.start() - self._at, parsed)
        self._ended = found[0] in _ENDS
        if self._ended:
            if self._whole:
                self._emit(len(found[0]), parsed)
            else:
                self._at = found.end()
            self._kind = Content
        self._state = _State.BETWEEN
        return True

    def _emit(self, count: int, parsed: list[Parsed]) -> None:
        """The next chars are text."""
        if count > 0:
            text = self._text[self._at : self._at + count]
            parsed.append(self._kind(text, self._base + self._at))
            self._at += count

    # ---- calls

    def _call(self, parsed: list[Parsed]) -> bool:
        if self._scanner is None:
            found = _NOT_BLANK.search(self._text, self._at)
            self._at = len(self._text) if found is None else found.start()
            if found is None:
                return False
            begin = self._text[self._at : self._at + _LONGEST_MARKER]
            if begin.startswith((*_ENDS, _START)):
                parsed.append(CallArguments("{}"))
                return self._end_call(parsed)
            if _begins_one(begin, (*_ENDS, _START)):
                return False
            if begin[0] != "{":
                return self._break(f"{begin[0]!r} where an object belongs", parsed)
            self._scanner = JsonScanner()
        start = self._at
        self._at = self._scanner.feed(self._text, start)
        if self._at > start:
            parsed.append(CallArguments(self._text[start : self._at]))
        if self._scanner.error is not None:
            return self._break(self._scanner.error, parsed)
        return self._scanner.done and self._end_call(parsed)

    def _end_call(self, parsed: list[Parsed]) -> bool:
        """As soon as its arguments are complete: the marker that ends it does not come where it ends the answer."""
        parsed.append(CallEnd())
        self._state, self._ended, self._after_call = _State.BETWEEN, True, True
        return True

    def _break(self, reason: str, parsed: list[Parsed]) -> bool:
        self._state = _State.BROKEN
        parsed.append(CallBroken(reason))
        return False


def _opening(text: str) -> str | None:
    """The first marker of what may be a header or an end, "" if it is neither; None if that is not clear yet."""
    rest = text.lstrip()
    if rest.startswith(_OPENINGS):
        return next(marker for marker in _OPENINGS if rest.startswith(marker))
    if _begins_one(rest, _OPENINGS) or "assistant".startswith(rest):
        return None
    after_role = rest.removeprefix("assistant")
    if len(after_role) < len(rest):
        if after_role and not (after_role[0].isspace() or after_role[0] == "<"):
            return ""
        rest = after_role.lstrip()
    if "to=".startswith(rest):
        return None
    recipient = _RECIPIENT.match(rest)
    if recipient is not None:
        if recipient.end() == len(rest):
            return None
        rest = rest[recipient.end() :].lstrip()
    elif len(after_role) == len(text.lstrip()):
        return ""
    inner = (_CHANNEL, _CONSTRAIN, _MESSAGE)
    if _begins_one(rest, inner):
        return None
    return next((marker for marker in inner if rest.startswith(marker)), "")


def _begins_one(text: str, markers: Sequence[str]) -> bool:
    return any(len(text) < len(marker) and marker.startswith(text) for marker in markers)


def _header(text: str) -> _Header | None:
    """What stands between `<|start|>` and `<|message|>`; None: it is no header of the assistant."""
    channel = recipient = ""
    role = typed = False
    at = 0
    while text[at:].strip():
        part = _HEADER_PART.match(text, at)
        if part is None:
            return None
        at = part.end()
        word = part["word"]
        if part["channel"]:
            channel = channel or part["channel"]
        elif word is None:
            continue
        elif word.startswith("to=") or (channel and word.startswith(_FUNCTIONS)):
            if recipient:
                return None
            recipient = word.removeprefix("to=")
        elif word == "assistant" and not (role or channel or recipient):
            role = True
        elif typed or not (role or channel or recipient):
            return None
        else:
            typed = True
    return _Header(channel, recipient)


def _cut_header(text: str) -> bool:
    """Whether it is the beginning of a header: text after `<|start|>`, or from another marker on."""
    if text and (size := held_back(text, _MARKERS)):
        text = text[:-size]
    text = _CUT_OFF.sub("", text)
    return "assistant".startswith(text.strip()) or _header(text) is not None
