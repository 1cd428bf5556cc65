"""Records for the tests of the store, in OpenAI's forms."""

from __future__ import annotations

from typing import Any

import orjson

from adapter.store.events import Event
from adapter.store.store import Store

Item = dict[str, Any]


def message(item_id: str, text: str = "Hello", role: str = "user") -> Item:
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text}]
    return {"type": "message", "id": item_id, "status": "completed", "role": role, "content": content}


def response(response_id: str, *output: Item, status: str = "in_progress") -> dict[str, Any]:
    return {"id": response_id, "object": "response", "status": status, "output": list(output)}


async def insert(store: Store, response_id: str, *items: Item, owner: str = "ann", **settings: Any) -> None:
    """Begins a response."""
    values: dict[str, Any] = {
        "background": False,
        "conversation_id": None,
        "previous_response_id": None,
        "worker": "w1",
        "lease": 10.0,
        **settings,
    }
    await store.responses.insert(owner, response_id, response(response_id), list(items), **values)


async def finish(store: Store, response_id: str, *output: Item, **settings: Any) -> bool:
    body = response(response_id, *output, status="completed")
    return await store.responses.save(response_id, body, running=False, **settings)


def events(first: int, last: int) -> list[Event]:
    """Events with these sequence numbers, of which the first and the last."""
    return [event(number) for number in range(first, last + 1)]


def event(number: int, type_: str = "response.output_text.delta", **fields: Any) -> Event:
    return type_, number, orjson.dumps({"type": type_, "sequence_number": number, **fields})


def failed(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "status": "failed"}


def failed_event(body: dict[str, Any], number: int) -> Event:
    return event(number, "response.failed", response=body)
