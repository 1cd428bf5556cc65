"""A client of the Responses API that knows nothing of the server: it makes the response of its events alone, and
objects to every event that does not follow from those before it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

Event = Mapping[str, Any]

_LIFECYCLE = ("response.created", "response.queued", "response.in_progress")
_LAST = ("response.completed", "response.incomplete", "response.failed")
_TEXTS = {  # deltas: where the text goes, and whether it is a part's
    "response.output_text": ("text", True),
    "response.reasoning_text": ("text", True),
    "response.reasoning_summary_text": ("text", True),
    "response.function_call_arguments": ("arguments", False),
    "response.custom_tool_call_input": ("input", False),
    "response.mcp_call_arguments": ("arguments", False),
}
_PARTS = {  # the item's field that has the parts, and the events' that says which one is meant
    "response.content_part": ("content", "content_index"),
    "response.reasoning_summary_part": ("summary", "summary_index"),
}
_CHANGED_BY_DONE = {  # fields of an item that no event but `output_item.done` tells of
    "message": {"status"},
    "reasoning": {"status", "encrypted_content"},
    "function_call": {"status"},
    "custom_tool_call": {"status"},
    "mcp_call": {"status", "output", "error"},
    "mcp_list_tools": {"tools", "error"},
    "mcp_approval_request": set(),
    "file_search_call": {"status", "queries", "results"},
    "web_search_call": {"status", "action"},
}


class ResponseFold:
    """`add` takes the events one by one, as JSON objects; AssertionError: one is out of its order, or untrue."""

    def __init__(self) -> None:
        self.output: list[dict[str, Any]] = []
        self.ended = False
        self._response: dict[str, Any] | None = None
        self._next = 0
        self._open_items: set[int] = set()
        self._open_parts: set[tuple[int, int]] = set()
        self._texts_done: set[tuple[int, int | None]] = set()
        self._types: list[str] = []

    @property
    def response(self) -> dict[str, Any]:
        """The latest snapshot, with the output as it is now."""
        assert self._response is not None, "no snapshot yet"
        return {**self._response, "output": self.output}

    def add(self, event: Event) -> None:
        type_ = event["type"]
        assert event["sequence_number"] == self._next, f"{type_} is not number {self._next}"
        assert not self.ended, f"{type_} comes after the end"
        assert self._types or type_ == "response.created", f"{type_} comes first"
        self._next += 1
        self._types.append(type_)
        if type_ in _LIFECYCLE or type_ in _LAST:
            self._lifecycle(type_, event["response"])
            return
        assert "response.in_progress" in self._types, f"{type_} before response.in_progress"
        if type_ == "response.output_item.added":
            self._add_item(event["output_index"], event["item"])
            return
        index = event["output_index"]
        assert index in self._open_items, f"{type_}: item {index} is not open"
        if type_ == "response.output_item.done":
            self._finish_item(index, event["item"])
            return
        assert event["item_id"] == self.output[index]["id"], type_
        stem, _, last = type_.rpartition(".")
        if stem in _TEXTS:
            self._text(stem, last, event)
        elif stem in _PARTS:
            parts, which = _PARTS[stem]
            (self._add_part if last == "added" else self._finish_part)(index, parts, event[which], event["part"])
        elif type_ == "response.output_text.annotation.added":
            annotations = self._part(event)["annotations"]
            assert event["annotation_index"] == len(annotations)
            annotations.append(event["annotation"])
        else:  # what becomes of a call that the server runs: it changes nothing before the item is done
            assert stem == "response." + self.output[index]["type"], type_

    def _lifecycle(self, type_: str, response: dict[str, Any]) -> None:
        assert self._types.count(type_) == 1, f"{type_} comes twice"
        if self._response is not None:
            assert response["id"] == self._response["id"]
        if type_ in _LAST:
            assert not self._open_items, f"{type_} leaves items {self._open_items} open"
            self.ended = True
        assert response["output"] == self.output, f"{type_} shows another output than was told"
        self._response = copy.deepcopy(response)

    def _add_item(self, index: int, item: dict[str, Any]) -> None:
        assert index == len(self.output), "output_index is not the next"
        assert item["id"] not in {one["id"] for one in self.output}, "an id comes twice"
        assert item.get("status", "in_progress") == "in_progress"
        self.output.append(copy.deepcopy(item))
        self._open_items.add(index)

    def _finish_item(self, index: int, item: dict[str, Any]) -> None:
        told = self.output[index]
        assert not any(at == index for at, _ in self._open_parts), "an item is done before its part"
        changes = _CHANGED_BY_DONE[told["type"]]
        before = {name: value for name, value in told.items() if name not in changes}
        assert before == {name: value for name, value in item.items() if name not in changes}, "untold changes"
        assert item.get("status") != "in_progress"
        if item["type"] in ("function_call", "custom_tool_call", "mcp_call") and item.get("output") is None:
            # A call of an approved tool comes with its arguments.
            assert (index, None) in self._texts_done or (item["type"] == "mcp_call" and item["arguments"])
        self.output[index] = copy.deepcopy(item)
        self._open_items.remove(index)

    def _add_part(self, index: int, parts: str, part_index: int, part: dict[str, Any]) -> None:
        content = self.output[index][parts]
        assert part_index == len(content), "the index of a part is not the next"
        content.append(copy.deepcopy(part))
        self._open_parts.add((index, part_index))

    def _finish_part(self, index: int, parts: str, part_index: int, part: dict[str, Any]) -> None:
        assert (index, part_index) in self._texts_done, "a part is done before its text"
        assert part == self.output[index][parts][part_index], "a part ends as another than was told"
        self._open_parts.remove((index, part_index))

    def _part(self, event: Event) -> dict[str, Any]:
        parts, which = _PARTS[
            "response.reasoning_summary_part" if "summary_index" in event else "response.content_part"
        ]
        place = (event["output_index"], event[which])
        assert place in self._open_parts, f"{event['type']}: part {place} is not open"
        part: dict[str, Any] = self.output[place[0]][parts][place[1]]
        return part

    def _text(self, stem: str, last: str, event: Event) -> None:
        field, of_part = _TEXTS[stem]
        holder = self._part(event) if of_part else self.output[event["output_index"]]
        place = (event["output_index"], event.get("content_index", event.get("summary_index")) if of_part else None)
        assert place not in self._texts_done, f"{event['type']}: the text is done"
        if last == "delta":
            holder[field] += event["delta"]
            if stem == "response.output_text":
                holder["logprobs"] += event["logprobs"]
            return
        assert last == "done"
        assert event[field] == holder[field], f"{event['type']} says another text than its deltas"
        if stem == "response.output_text":
            assert event["logprobs"] == holder["logprobs"]
        self._texts_done.add(place)


def fold(events: Iterable[Event]) -> dict[str, Any]:
    """The response that a whole stream amounts to."""
    folded = ResponseFold()
    for event in events:
        folded.add(event)
    assert folded.ended, "the stream ends before the response does"
    return folded.response
