"""One answer as events: plain text, or what a parser makes of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from adapter.errors import APIError
from adapter.generation.answer import Answer
from adapter.generation.events import (
    Event,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from adapter.parsing.custom_input import CustomInput
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
from adapter.parsing.tool_format import ToolFormat
from tokentext import StopMatcher


class AnswerEvents(Protocol):
    """Engine tokens in, events out, until `finish_reason` is set."""

    answer: Answer

    @property
    def finish_reason(self) -> str | None: ...

    @property
    def stopped(self) -> bool:
        """Whether the answer ended for a reason that the engine does not know: it has to be told."""
        ...

    @property
    def reasoning_tokens(self) -> int | None: ...

    def push(self, ids: list[int], logprobs: Sequence[TokenLogprob] | None) -> Sequence[Event]: ...

    def finish(self, reason: str) -> Sequence[Event]: ...


class PlainEvents:
    """All text is content."""

    reasoning_tokens = None

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    @property
    def finish_reason(self) -> str | None:
        return self.answer.finish_reason

    @property
    def stopped(self) -> bool:
        return self.answer.stopped

    def push(self, ids: list[int], logprobs: Sequence[TokenLogprob] | None) -> Sequence[Event]:
        text = self.answer.push(ids, logprobs)
        return (TextDelta(text, self.answer.completion_tokens, self.answer.logprobs()),) if text else ()

    def finish(self, reason: str) -> Sequence[Event]:
        text = self.answer.finish(reason)
        return (TextDelta(text, self.answer.completion_tokens, self.answer.logprobs()),) if text else ()


@dataclass(frozen=True)
class Reading:
    """How one answer's text is to be read.

    tool_format: makes ids for calls; None: the request has no tools.
    most_calls: the answer ends with so many calls; None: any number.
    custom: names of the tools whose input is text instead of JSON arguments.
    reasons: whether the model reasons, so that its reasoning tokens are counted.
    visible: special tokens that the parser has to see as text.
    """

    parser: OutputParser
    tool_format: ToolFormat | None = None
    most_calls: int | None = None
    custom: frozenset[str] = frozenset()
    reasons: bool = False
    visible: frozenset[int] = frozenset()


class ParsedEvents:
    """Content, reasoning and calls, as a parser tells them apart.

    Args:
        answer: without stop strings.
        stop: strings before which the content ends. They are not looked for in reasoning and in calls.
    """

    def __init__(self, answer: Answer, reading: Reading, stop: Sequence[str]) -> None:
        self.answer = answer
        self.finish_reason: str | None = None
        self.stopped = False
        self._reading = reading
        self._parser = reading.parser
        self._reasoning_tokens = 0
        self._calls = 0  # begun
        self._open = False  # the last one is not complete
        self._custom: CustomInput | None = None
        self._content = _Content(answer, stop)

    @property
    def reasoning_tokens(self) -> int | None:
        return self._reasoning_tokens if self._reading.reasons else None

    def push(self, ids: list[int], logprobs: Sequence[TokenLogprob] | None) -> Sequence[Event]:
        events: list[Event] = []
        for index, token in enumerate(ids):
            self._push(token, logprobs[index : index + 1] if logprobs else None, events)
            if self.finish_reason is not None:
                break
        return events

    def finish(self, reason: str) -> Sequence[Event]:
        events: list[Event] = []
        if self.finish_reason is None:
            rest = self.answer.finish(reason)
            self._take(self._parser.push(rest) if rest else [], events)
            self._end(events)
        return events

    def _push(self, token: int, logprobs: Sequence[TokenLogprob] | None, events: list[Event]) -> None:
        before = self._parser.reasoning
        text = self.answer.push([token], logprobs)
        if text:
            self._take(self._parser.push(text), events)
        if before or self._parser.reasoning:
            self._reasoning_tokens += 1
        if self.answer.finish_reason is not None:
            self._end(events)

    def _end(self, events: list[Event]) -> None:
        """The model has ended: what the parser held back comes out, and the reason is clear."""
        if self.finish_reason is not None:
            return
        self._take(self._parser.finish(), events)
        if self.stopped:
            return
        rest = self._content.flush()
        if rest is not None:
            events.append(rest)
        reason = self.answer.finish_reason or "stop"
        if self._content.hit:
            reason = "stop"
        elif reason == "stop" and self._open:
            raise _broken("it ends before its arguments do")
        elif reason == "stop" and self._calls:
            reason = "tool_calls"
        self.finish_reason = reason

    def _take(self, parsed: list[Parsed], events: list[Event]) -> None:
        done = self.answer.completion_tokens
        for item in parsed:
            if self.finish_reason is not None:
                return
            if type(item) is Content:
                delta = self._content.push(item)
                if delta is not None:
                    events.append(delta)
                if self._content.hit:
                    self._stop("tool_calls" if self._calls else "stop")
            elif type(item) is Reasoning:
                events.append(ReasoningDelta(item.text, done))
            elif type(item) is CallStart:
                events.append(self._start_call(item))
            elif type(item) is CallArguments:
                if text := self._arguments(item.text):
                    events.append(ToolCallDelta(self._calls - 1, text, done))
            elif type(item) is CallEnd:
                self._open = False
                if self._custom is not None:
                    self._custom.finish()
                    self._arguments("")
                events.append(ToolCallEnd(self._calls - 1))
                if self._calls == self._reading.most_calls:
                    self._stop("tool_calls")
            elif type(item) is CallBroken:
                raise _broken(item.reason)

    def _arguments(self, text: str) -> str:
        if self._custom is None:
            return text
        text = self._custom.push(text)
        if self._custom.missing:
            raise _broken("its input is no text")
        return text

    def _start_call(self, item: CallStart) -> ToolCallStart:
        assert self._reading.tool_format is not None
        custom = item.name in self._reading.custom
        self._custom = CustomInput() if custom else None
        call_id = item.id or self._reading.tool_format.new_id()
        index, self._calls, self._open = self._calls, self._calls + 1, True
        return ToolCallStart(index, call_id, item.name, custom, self.answer.completion_tokens)

    def _stop(self, reason: str) -> None:
        self.finish_reason = reason
        self.stopped = True


class _Content:
    """The content of an answer: ended by a stop string, and with the log probabilities of its tokens."""

    def __init__(self, answer: Answer, stop: Sequence[str]) -> None:
        self._answer = answer
        self._matcher = StopMatcher(stop) if stop else None
        # Where in the model's text the content lies that is not out yet: (start, length).
        self._places: deque[tuple[int, int]] = deque()

    @property
    def hit(self) -> bool:
        return self._matcher is not None and self._matcher.hit is not None

    def push(self, item: Content) -> TextDelta | None:
        self._places.append((item.start, len(item.text)))
        return self._delta(item.text if self._matcher is None else self._matcher.push(item.text)[0])

    def flush(self) -> TextDelta | None:
        return self._delta("" if self._matcher is None or self.hit else self._matcher.flush())

    def _delta(self, text: str) -> TextDelta | None:
        if not text:
            return None
        logprobs: list[TokenLogprob] | None = None
        left = len(text)
        while left:
            start, length = self._places.popleft()
            taken = min(left, length)
            if taken < length:
                self._places.appendleft((start + taken, length - taken))
            left -= taken
            found = self._answer.logprobs_within(start, start + taken)
            if found is not None:
                logprobs = (logprobs or []) + found
        return TextDelta(text, self._answer.completion_tokens, logprobs)


def _broken(reason: str) -> APIError:
    return APIError(
        502,
        f"The model began a tool call and did not write a valid one: {reason}. Ask again, set 'strict' on the tool, or "
        "use tool_choice 'required', which holds the model to a valid call.",
        type="server_error",
        code="invalid_tool_call",
    )
