"""Where an item is, by its id: in the responses or the conversations of its owner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.store.database import Database
from adapter.store.limits import Limits
from adapter.store.record import Item
from adapter.store.tables import conversation_items, conversations, is_key, response_items, responses
from adapter.store.visible import visible, visible_response

_MOST_TRIED = 4


async def index_items(
    connection: AsyncConnection, database: Database, owner: str, response_id: str, items: Iterable[Item]
) -> None:
    """Notes that the response has these items. A reference is none: it says where an item is, not what it is."""
    ids = {item["id"] for item in items if item.get("type") != "item_reference" and is_key(item.get("id"))}
    if ids:
        rows = [{"owner": owner, "item_id": item_id, "response_id": response_id} for item_id in sorted(ids)]
        await connection.execute(database.insert_or_ignore(response_items), rows)


async def find_item(connection: AsyncConnection, limits: Limits, owner: str, item_id: str) -> Item | None:
    """The newest response's that has it, else the conversation's."""
    rows = await connection.execute(
        select(responses.c.body, responses.c.input_items)
        .join(response_items, response_items.c.response_id == responses.c.id)
        .where(response_items.c.owner == owner, response_items.c.item_id == item_id)
        .where(visible_response(owner, limits))
        .order_by(responses.c.created_at.desc(), responses.c.id.desc())
        .limit(_MOST_TRIED)
    )
    for row in rows:
        found = _with_id(orjson.loads(row.body)["output"], item_id) or _with_id(orjson.loads(row.input_items), item_id)
        if found is not None:
            return found
    rows = await connection.execute(
        select(conversation_items.c.item)
        .join(conversations, conversations.c.id == conversation_items.c.conversation_id)
        .where(conversation_items.c.owner == owner, conversation_items.c.item_id == item_id)
        .where(visible(conversations, owner, limits))
        .order_by(conversations.c.created_at.desc(), conversations.c.id.desc())
        .limit(_MOST_TRIED)
    )
    return _with_id([orjson.loads(item) for item in rows.scalars()], item_id)


def _with_id(items: Sequence[Item], item_id: str) -> Item | None:
    for item in items:
        if item.get("id") == item_id and item.get("type") != "item_reference":
            return item
    return None
