"""Items of a conversation within a transaction: how they get into it, and what a response does when it ends."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.store.errors import ItemExists
from adapter.store.limits import Limits
from adapter.store.record import Item
from adapter.store.tables import conversation_items, conversations, is_key

_AT_A_TIME = 500


async def present(connection: AsyncConnection, conversation_id: str, items: Sequence[Item]) -> set[str]:
    """Ids of those items that the conversation has already."""
    ids = [item["id"] for item in items]
    found: set[str] = set()
    for start in range(0, len(ids), _AT_A_TIME):
        rows = await connection.execute(
            select(conversation_items.c.item_id)
            .where(conversation_items.c.conversation_id == conversation_id)
            .where(conversation_items.c.item_id.in_(ids[start : start + _AT_A_TIME]))
        )
        found.update(rows.scalars())
    return found


async def put_items(
    connection: AsyncConnection, owner: str, conversation_id: str, position: int, items: Sequence[Item]
) -> int:
    """Writes items from a position on.

    Returns:
        Their size in bytes.
    Raises:
        ItemExists: two of them have the same id.
        ValueError: one has no id that can be kept.
    """
    rows = []
    seen: set[str] = set()
    for place, item in enumerate(items, position):
        if not is_key(item.get("id")):
            raise ValueError("an item of a conversation has an id of 1 to 255 characters")
        if item["id"] in seen:
            raise ItemExists(item["id"])
        seen.add(item["id"])
        data = orjson.dumps(item)
        rows.append(
            {
                "conversation_id": conversation_id,
                "position": place,
                "item_id": item["id"],
                "owner": owner,
                "size": len(data),
                "item": data,
            }
        )
    if rows:
        await connection.execute(insert(conversation_items), rows)
    return sum(row["size"] for row in rows)


async def add_to_conversation(
    connection: AsyncConnection, limits: Limits, owner: str, conversation_id: str, response_id: str, items: list[Item]
) -> bool:
    """Appends what a response has made of its conversation, and unlocks it.

    An item that the conversation has already, by its id, stays as it is. No size is refused: the response was made.

    Returns:
        Whether the conversation is there and was still locked by this response; where not, nothing is changed.
    """
    row = (
        await connection.execute(
            select(conversations.c.next_position, conversations.c.size)
            .where(conversations.c.id == conversation_id, conversations.c.owner == owner)
            .where(conversations.c.locked_by == response_id)
            .with_for_update()
        )
    ).one_or_none()
    if row is None:
        return False
    known = await present(connection, conversation_id, items)
    new = list({item["id"]: item for item in items if item["id"] not in known}.values())
    size = await put_items(connection, owner, conversation_id, row.next_position, new)
    await connection.execute(
        update(conversations)
        .where(conversations.c.id == conversation_id)
        .values(
            next_position=row.next_position + len(new),
            size=row.size + size,
            used_at=limits.clock(),
            locked_by=None,
            lock_until=None,
        )
    )
    return True


async def release(connection: AsyncConnection, conversation_id: str, response_id: str) -> None:
    """Unlocks it, where it is this response that holds the lock."""
    await connection.execute(
        update(conversations)
        .where(conversations.c.id == conversation_id, conversations.c.locked_by == response_id)
        .values(locked_by=None, lock_until=None)
    )
