"""The `output` of a response: items begin, and are done, and the events say so."""

from __future__ import annotations

import secrets
from typing import Any

from adapter.encoding.wire_event import WireEvent, WireEvents

Item = dict[str, Any]


def new_id(prefix: str) -> str:
    """An id in OpenAI's form, such as `msg_...`."""
    return prefix + secrets.token_hex(16)


class OutputItems:
    """Args:
    items: the `output` list itself, empty; it always is what the events so far say.
    """

    def __init__(self, events: WireEvents, items: list[Item]) -> None:
        self.events = events
        self.items = items
        self._places: dict[str, int] = {}
        self._open: dict[str, None] = {}  # ids of items that are not done, in their order

    def place(self, item_id: str) -> int:
        """The `output_index` of an item."""
        return self._places[item_id]

    def add(self, item: Item) -> WireEvent:
        """The item begins. It stays the caller's to change, along with the events that tell of the change."""
        item_id = item["id"]
        self._places[item_id] = len(self.items)
        self._open[item_id] = None
        self.items.append(item)
        return self.events.event("response.output_item.added", output_index=self._places[item_id], item=item)

    def done(self, item: Item) -> WireEvent:
        """The item is complete; it takes the place of the one with its id."""
        place = self._places[item["id"]]
        del self._open[item["id"]]
        self.items[place] = item
        return self.events.event("response.output_item.done", output_index=place, item=item)

    def abandon(self) -> list[WireEvent]:
        """What has begun stays incomplete: the response ends."""
        return [self.done(_incomplete(self.items[self._places[item_id]])) for item_id in list(self._open)]


def _incomplete(item: Item) -> Item:
    return {**item, "status": "incomplete"} if "status" in item else item
