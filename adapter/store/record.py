"""A response as the store keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from adapter.store.tables import responses

Item = dict[str, Any]

COLUMNS = (
    responses.c.id,
    responses.c.created_at,
    responses.c.background,
    responses.c.previous_response_id,
    responses.c.conversation_id,
    responses.c.worker,
    responses.c.running,
    responses.c.cancel_requested,
    responses.c.last_event,
    responses.c.body,
    responses.c.input_items,
)


@dataclass(frozen=True)
class Record:
    """
    created_at: Unix seconds; when it came into the store.
    body: the response object.
    input_items: the items of its request.
    worker: the process that makes it.
    cancel_requested: somebody wants it to end; it may have ended otherwise.
    last_event: sequence number of the last event that is kept, -1 with none.
    """

    id: str
    created_at: float
    background: bool
    previous_response_id: str | None
    conversation_id: str | None
    worker: str
    running: bool
    cancel_requested: bool
    last_event: int
    body: dict[str, Any]
    input_items: list[Item]


def record(row: Sequence[Any]) -> Record:
    """From a row of `COLUMNS`."""
    fields: tuple[Any, ...] = (*row[:-2], orjson.loads(row[-2]), orjson.loads(row[-1]))
    return Record(*fields)
