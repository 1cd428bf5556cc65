"""Writes one response: its stream and its object at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from adapter.encoding.call_items import CallForm, CallItem, CallKind, PendingCall
from adapter.encoding.output_items import Item, OutputItems
from adapter.encoding.response_usage import ResponseUsage
from adapter.encoding.text_items import Citations, MessageItem, ReasoningItem, SummaryItem
from adapter.encoding.wire_event import WireEvent, WireEvents
from adapter.generation.events import (
    Event,
    Finish,
    PromptLogprobs,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from tokentext import TextTokenizer

__all__ = ["CallForm", "CallKind", "PendingCall", "ResponseWriter"]

# OpenAI's codes of `response.error`; the SDK's type knows no others.
_ERROR_CODES = frozenset(
    {
        "server_error",
        "rate_limit_exceeded",
        "invalid_prompt",
        "data_residency_mismatch",
        "bio_policy",
        "misalignment_policy_violation",
        "vector_store_timeout",
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "invalid_image_url",
        "image_too_large",
        "image_too_small",
        "image_parse_error",
        "image_content_policy_violation",
        "invalid_image_mode",
        "image_file_too_large",
        "unsupported_image_media_type",
        "empty_image_file",
        "failed_to_download_image",
        "image_file_not_found",
    }
)


class ResponseWriter:
    """The object is the fold of the very events: each change of it goes with the event that tells of it.

    Call `started` once, then per turn of the model `begin_turn`, `encode` per event and `end_turn`; between turns
    `add_item`, `item_event` and `finish_item` tell what this server does; `complete`, `incomplete`, `fail` or `cancel`
    comes last.

    Args:
        body: made by response_object(); from now on the writer's.
        calls: what a call is shown as, by the name that the model calls; a name that is not there is a function, or a
            custom tool, of the client.
        logprobs: of output text are shown.
        obfuscation: deltas are padded by random characters.
        seal: makes `encrypted_content` of reasoning; None: it was not asked for.
        summary: reasoning is shown as a summary instead of as content.
    """

    def __init__(
        self,
        body: dict[str, Any],
        tokenizer: TextTokenizer,
        calls: Mapping[str, CallForm],
        *,
        logprobs: bool,
        obfuscation: bool = False,
        seal: Callable[[str], str] | None = None,
        summary: bool = False,
    ) -> None:
        self.calls = calls
        self.citations: Citations | None = None
        self.incomplete_reason: str | None = None
        self._body = body
        self._tokenizer = tokenizer if logprobs else None
        self._seal = seal
        self._reasoning_form = SummaryItem if summary else ReasoningItem
        self._events = WireEvents(obfuscation=obfuscation)
        self._output = OutputItems(self._events, body["output"])
        self._usage = ResponseUsage()
        self._message: MessageItem | None = None  # of these three, one at most is under way
        self._reasoning: ReasoningItem | None = None
        self._call: CallItem | None = None
        self._pending: list[PendingCall] = []
        self._answered = False  # the turn has a message or a call

    @property
    def body(self) -> dict[str, Any]:
        """The response object as of the last event."""
        open_item = self._open_item
        if open_item is not None:
            open_item.settle()
        return self._body

    def queued(self) -> list[WireEvent]:
        self._body["status"] = "queued"
        return [self._snapshot("response.created"), self._snapshot("response.queued")]

    def started(self) -> list[WireEvent]:
        self._body["status"] = "in_progress"
        created = [] if self._events.next else [self._snapshot("response.created")]
        return [*created, self._snapshot("response.in_progress")]

    def begin_turn(self, prompt_tokens: int) -> None:
        """One call of the model begins."""
        self._usage.begin_turn(prompt_tokens)
        self._pending = []
        self._answered = False

    def encode(self, event: Event) -> list[WireEvent]:
        """The wire events of one event of the model; may be none."""
        if type(event) is TextDelta:
            self._usage.done = event.completion_tokens
            message = self._message
            if message is not None:
                return [message.delta(event)]
            closing = self._close("completed")
            message = self._begin_message()
            return [*closing, *message.opening, message.delta(event)]
        if type(event) is ReasoningDelta:
            self._usage.done = event.completion_tokens
            if self._reasoning is not None:
                return [self._reasoning.delta(event)]
            closing = self._close("completed")
            self._reasoning = reasoning = self._reasoning_form(self._output, self._seal)
            return [*closing, *reasoning.opening, reasoning.delta(event)]
        if type(event) is ToolCallDelta:
            self._usage.done = event.completion_tokens
            assert self._call is not None
            return self._call.delta(event)
        if type(event) is ToolCallStart:
            self._usage.done = event.completion_tokens
            closing = self._close("completed")
            form = self.calls.get(event.name) or CallForm("custom" if event.custom else "function", event.name)
            self._call = call = CallItem(self._output, event, form)
            self._answered = True
            return [*closing, *call.opening]
        if type(event) is ToolCallEnd:
            assert self._call is not None
            call = self._call
            closing = self._close("completed")
            self._pending.append(call.pending())
            return closing
        if type(event) is PromptLogprobs:
            return []
        assert isinstance(event, Finish)
        return self._finish(event)

    def end_turn(self) -> list[PendingCall]:
        """After Finish: the turn's complete calls, in their order."""
        return self._pending

    def add_item(self, item: Item) -> list[WireEvent]:
        """An item of this server's own begins; it is not to be changed any more."""
        return [self._output.add(item)]

    def item_event(self, item_id: str, type_: str, **fields: Any) -> WireEvent:
        """What becomes of an item that is not done."""
        return self._events.event(type_, output_index=self._output.place(item_id), item_id=item_id, **fields)

    def finish_item(self, item: Item) -> list[WireEvent]:
        """The item is done; it takes the place of the one with its id."""
        return [self._output.done(item)]

    def complete(self) -> list[WireEvent]:
        return self._end("response.completed", status="completed", completed_at=int(time.time()))

    def incomplete(self, reason: str) -> list[WireEvent]:
        """`reason`: OpenAI's, such as `max_output_tokens`."""
        return self._end("response.incomplete", status="incomplete", incomplete_details={"reason": reason})

    def fail(self, code: str, message: str) -> list[WireEvent]:
        """`code`: where OpenAI has no such code it is shown as `type`, and the code is `server_error`."""
        error = {"code": code if code in _ERROR_CODES else "server_error", "message": message, "type": code}
        return self._end("response.failed", status="failed", error=error)

    def cancel(self) -> list[WireEvent]:
        """There is no event for it: clients wait for one of three, of which `response.incomplete` says the least."""
        return self._end("response.incomplete", status="cancelled")

    @property
    def _open_item(self) -> MessageItem | ReasoningItem | CallItem | None:
        return self._message or self._reasoning or self._call

    def _begin_message(self) -> MessageItem:
        self._answered = True
        self._message = MessageItem(self._output, self._tokenizer, self.citations)
        return self._message

    def _close(self, status: str) -> list[WireEvent]:
        """Ends the item under way, if there is one."""
        open_item = self._open_item
        if open_item is None:
            return []
        self._message = self._reasoning = self._call = None
        return open_item.close(status)

    def _finish(self, finish: Finish) -> list[WireEvent]:
        self._usage.end_turn(finish)
        if finish.reason == "length":
            self.incomplete_reason = "max_output_tokens"
            return self._close("incomplete")
        events = self._close("completed")
        if not self._answered:  # clients expect an answer, be it empty
            events += self._begin_message().opening + self._close("completed")
        return events

    def _end(self, type_: str, **changes: Any) -> list[WireEvent]:
        events = [*self._close("incomplete"), *self._output.abandon()]
        self._body.update(changes, usage=self._usage.body())
        return [*events, self._snapshot(type_)]

    def _snapshot(self, type_: str) -> WireEvent:
        return self._events.event(type_, response=self.body)
