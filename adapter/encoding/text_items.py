"""A message of the model, and what it reasons before: items whose text comes piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from adapter.encoding.logprobs import logprobs_content
from adapter.encoding.output_items import OutputItems, new_id
from adapter.encoding.wire_event import Deltas, WireEvent
from adapter.generation.events import ReasoningDelta, TextDelta
from tokentext import TextTokenizer

Citations = Callable[[str], Iterable[dict[str, Any]]]


class _TextItem:
    """An item with one part of text. `opening` is to be sent before the first delta.

    events: the name of its text's events, up to `.delta` and `.done`.
    part_events: likewise of its part, up to `.added` and `.done`.
    parts: the item's field that has the part; index: the events' field that says which one it is.
    """

    events: str
    part_events = "response.content_part"
    parts = "content"
    index = "content_index"

    def __init__(self, output: OutputItems, item: dict[str, Any], part: dict[str, Any], *, logprobs: bool) -> None:
        self._output = output
        self._item = item
        self._part = part
        self._pieces: list[str] = []
        added = output.add(item)
        self._place = {"item_id": item["id"], "output_index": output.place(item["id"]), self.index: 0}
        item[self.parts].append(part)
        self.opening = [added, output.events.event(self.part_events + ".added", **self._place, part=part)]
        self._deltas = Deltas(output.events, self.events + ".delta", self._place, logprobs=logprobs)

    def settle(self) -> None:
        """Brings the item up to date: its text is put together when somebody looks."""
        self._part["text"] = "".join(self._pieces)

    def _done(self, status: str, **fields: Any) -> list[WireEvent]:
        """The last events; `fields` are further ones of the text's `.done`."""
        event = self._output.events.event
        text_done = event(self.events + ".done", **self._place, text=self._part["text"], **fields)
        part_done = event(self.part_events + ".done", **self._place, part=self._part)
        self._item["status"] = status
        return [text_done, part_done, self._output.done(self._item)]


class MessageItem(_TextItem):
    """A message under way.

    Args:
        tokenizer: makes the text of log probabilities; None: they are not shown.
        citations: makes the annotations of the text, once it is complete.
    """

    events = "response.output_text"

    def __init__(self, output: OutputItems, tokenizer: TextTokenizer | None, citations: Citations | None) -> None:
        item = {"type": "message", "id": new_id("msg_"), "status": "in_progress", "role": "assistant", "content": []}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        super().__init__(output, item, part, logprobs=True)
        self._tokenizer = tokenizer
        self._citations = citations

    def delta(self, delta: TextDelta) -> WireEvent:
        self._pieces.append(delta.text)
        if delta.logprobs is None or self._tokenizer is None:
            return self._deltas.event(delta.text)
        logprobs = logprobs_content(self._tokenizer, delta.logprobs)
        self._part["logprobs"] += logprobs
        return self._deltas.event(delta.text, logprobs)

    def close(self, status: str) -> list[WireEvent]:
        self.settle()
        annotations = self._part["annotations"]
        events = []
        for annotation in self._citations(self._part["text"]) if self._citations is not None else ():
            at = {**self._place, "annotation_index": len(annotations)}
            type_ = "response.output_text.annotation.added"
            events.append(self._output.events.event(type_, **at, annotation=annotation))
            annotations.append(annotation)
        return events + self._done(status, logprobs=self._part["logprobs"])


class ReasoningItem(_TextItem):
    """Reasoning under way.

    Args:
        seal: makes `encrypted_content` of the text; None: it was not asked for.
    """

    events = "response.reasoning_text"
    part_type = "reasoning_text"

    def __init__(self, output: OutputItems, seal: Callable[[str], str] | None) -> None:
        # Without `encrypted_content`: by Open Responses' schema it is a string, where it is at all.
        item = {"type": "reasoning", "id": new_id("rs_"), "status": "in_progress", "summary": [], "content": []}
        super().__init__(output, item, {"type": self.part_type, "text": ""}, logprobs=False)
        self._seal = seal

    def delta(self, delta: ReasoningDelta) -> WireEvent:
        self._pieces.append(delta.text)
        return self._deltas.event(delta.text)

    def close(self, status: str) -> list[WireEvent]:
        self.settle()
        if self._seal is not None:
            self._item["encrypted_content"] = self._seal(self._part["text"])
        return self._done(status)


class SummaryItem(ReasoningItem):
    """Reasoning shown as its own summary, for clients that look for one: nothing is left out."""

    events = "response.reasoning_summary_text"
    part_events = "response.reasoning_summary_part"
    part_type = "summary_text"
    parts = "summary"
    index = "summary_index"
