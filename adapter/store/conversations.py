"""Conversations: a list of items that responses and clients add to; one response at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.store.conversation_items import add_to_conversation, present, put_items, release
from adapter.store.database import Database
from adapter.store.errors import ConversationTooLong, ItemExists
from adapter.store.limits import Limits
from adapter.store.pages import Order, Page, fetch_page
from adapter.store.record import Item
from adapter.store.tables import conversation_items, conversations
from adapter.store.visible import visible

_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Conversation:
    """
    created_at: Unix seconds.
    locked_by: the response that runs in it, if there is one.
    """

    id: str
    created_at: float
    metadata: dict[str, str]
    locked_by: str | None


class Conversations:
    """`store.conversations`. Every item has an `id` of its own within its conversation, of at most 255 characters."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def create(self, owner: str, id: str, metadata: dict[str, str], items: Sequence[Item] = ()) -> Conversation:
        """Raises RecordTooLarge; ItemExists: two items have the same id."""
        packed = orjson.dumps(metadata)
        now = self._limits.clock()
        async with self._database.write() as connection:
            await connection.execute(
                insert(conversations).values(
                    id=id,
                    owner=owner,
                    created_at=now,
                    used_at=now,
                    next_position=len(items),
                    size=0,
                    metadata=packed,
                )
            )
            size = len(packed) + await put_items(connection, owner, id, 0, items)
            self._limits.check("The conversation", size)
            await connection.execute(update(conversations).where(conversations.c.id == id).values(size=size))
        self._database.wrote(size)
        return Conversation(id, now, metadata, None)

    async def get(self, owner: str, id: str) -> Conversation | None:
        async with self._database.read() as connection:
            row = await self._row(connection, owner, id)
        if row is None:
            return None
        await self._use(row)
        return self._conversation(row)

    async def update(self, owner: str, id: str, metadata: dict[str, str]) -> Conversation | None:
        """Puts `metadata` in the place of what was there."""
        packed = orjson.dumps(metadata)
        async with self._database.write() as connection:
            row = await self._row(connection, owner, id, lock=True)
            if row is None:
                return None
            size = row.size - len(row.metadata) + len(packed)
            await connection.execute(
                update(conversations)
                .where(conversations.c.id == id)
                .values(metadata=packed, size=size, used_at=self._limits.clock())
            )
        return Conversation(id, row.created_at, metadata, self._holder(row))

    async def delete(self, owner: str, id: str) -> bool:
        """Removes it with its items. Returns whether there was one."""
        async with self._database.write() as connection:
            gone = await connection.execute(
                delete(conversations).where(conversations.c.id == id, visible(conversations, owner, self._limits))
            )
        return gone.rowcount > 0

    async def add_items(self, owner: str, id: str, items: Sequence[Item]) -> bool:
        """Appends all of the items, or none.

        Returns:
            Whether there is such a conversation.
        Raises:
            ItemExists: it has an item with one of the ids, or two of them have the same.
            RecordTooLarge: the conversation would be over the limit.
        """
        async with self._database.write() as connection:
            row = await self._row(connection, owner, id, lock=True)
            if row is None:
                return False
            known = await present(connection, id, items)
            for item in items:
                if item["id"] in known:
                    raise ItemExists(item["id"])
            size = await put_items(connection, owner, id, row.next_position, items)
            self._limits.check("The conversation", row.size + size)
            await connection.execute(
                update(conversations)
                .where(conversations.c.id == id)
                .values(
                    next_position=row.next_position + len(items), size=row.size + size, used_at=self._limits.clock()
                )
            )
        self._database.wrote(size)
        return True

    async def get_item(self, owner: str, id: str, item_id: str) -> Item | None:
        async with self._database.read() as connection:
            row = await self._row(connection, owner, id)
            if row is None:
                return None
            item: bytes | None = await connection.scalar(
                select(conversation_items.c.item).where(
                    conversation_items.c.conversation_id == id, conversation_items.c.item_id == item_id
                )
            )
        await self._use(row)
        return None if item is None else orjson.loads(item)

    async def delete_item(self, owner: str, id: str, item_id: str) -> Conversation | None:
        """Removes one item. None: there is no such conversation, or no such item in it."""
        async with self._database.write() as connection:
            row = await self._row(connection, owner, id, lock=True)
            if row is None:
                return None
            which = and_(conversation_items.c.conversation_id == id, conversation_items.c.item_id == item_id)
            size = await connection.scalar(select(conversation_items.c.size).where(which))
            if size is None:
                return None
            await connection.execute(delete(conversation_items).where(which))
            await connection.execute(
                update(conversations)
                .where(conversations.c.id == id)
                .values(size=row.size - size, used_at=self._limits.clock())
            )
        return self._conversation(row)

    async def list_items(
        self, owner: str, id: str, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[Item] | None:
        """A page of its items, in the order in which they were added; None: there is no such conversation.

        Raises:
            UnknownCursor: it has no item `after`.
        """
        async with self._database.read() as connection:
            row = await self._row(connection, owner, id)
            if row is None:
                return None
            rows, has_more = await fetch_page(
                connection,
                select(conversation_items.c.item).where(conversation_items.c.conversation_id == id),
                [conversation_items.c.position],
                after=after,
                at=conversation_items.c.item_id,
                limit=limit,
                order=order,
            )
        await self._use(row)
        return Page([orjson.loads(entry.item) for entry in rows], has_more)

    async def all_items(
        self, owner: str, id: str, *, max_items: int, max_bytes: int = _MOST_BYTES
    ) -> list[Item] | None:
        """Every item, oldest first; None: there is no such conversation.

        Raises:
            ConversationTooLong: it has more.
        """
        async with self._database.read() as connection:
            row = await self._row(connection, owner, id)
            if row is None:
                return None
            here = conversation_items.c.conversation_id == id
            number = await connection.scalar(select(func.count()).select_from(conversation_items).where(here)) or 0
            if number > max_items:
                raise ConversationTooLong(f"The conversation has {number} items, over the limit of {max_items}.")
            if row.size > max_bytes:
                raise ConversationTooLong(f"The conversation has {row.size} bytes, over the limit of {max_bytes}.")
            items = await connection.execute(
                select(conversation_items.c.item).where(here).order_by(conversation_items.c.position)
            )
            packed = list(items.scalars())
        await self._use(row)
        return [orjson.loads(item) for item in packed]

    async def lock(self, owner: str, id: str, response_id: str, lease: float) -> bool:
        """Takes the conversation for a response, for `lease` seconds; `Responses.renew` prolongs it.

        Returns:
            Whether it was free, or held by a response whose lease has ended, or by this one; False too where there is
            no such conversation.
        """
        now = self._limits.clock()
        free = or_(
            conversations.c.locked_by.is_(None),
            conversations.c.locked_by == response_id,
            conversations.c.lock_until < now,
        )
        async with self._database.write() as connection:
            taken = await connection.execute(
                update(conversations)
                .where(conversations.c.id == id, visible(conversations, owner, self._limits), free)
                .values(locked_by=response_id, lock_until=now + lease, used_at=now)
            )
        return taken.rowcount > 0

    async def unlock(self, owner: str, id: str, response_id: str) -> None:
        """Gives it free, where this response holds it."""
        async with self._database.write() as connection:
            if await self._row(connection, owner, id) is not None:
                await release(connection, id, response_id)

    async def append_response(self, owner: str, id: str, response_id: str, items: Sequence[Item]) -> bool:
        """Appends what a response that is not kept itself has added, and unlocks, in one transaction.

        A response that is kept does this by `Responses.save`. An item that is there already stays as it is.

        Returns:
            Whether the conversation is there and the response still held it; where not, nothing is changed.
        """
        async with self._database.write() as connection:
            return await add_to_conversation(connection, self._limits, owner, id, response_id, list(items))

    async def _row(self, connection: AsyncConnection, owner: str, id: str, *, lock: bool = False) -> Row[Any] | None:
        statement = select(conversations).where(conversations.c.id == id, visible(conversations, owner, self._limits))
        return (await connection.execute(statement.with_for_update() if lock else statement)).one_or_none()

    async def _use(self, row: Row[Any]) -> None:
        if self._limits.use_again(row.used_at):
            async with self._database.write() as connection:
                await connection.execute(
                    update(conversations).where(conversations.c.id == row.id).values(used_at=self._limits.clock())
                )

    def _holder(self, row: Row[Any]) -> str | None:
        return row.locked_by if row.lock_until is not None and row.lock_until >= self._limits.clock() else None

    def _conversation(self, row: Row[Any]) -> Conversation:
        return Conversation(row.id, row.created_at, orjson.loads(row.metadata), self._holder(row))
