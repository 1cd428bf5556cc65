"""Stored chat completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.store.database import Database
from adapter.store.errors import UnknownCursor
from adapter.store.limits import Limits
from adapter.store.pages import Order, Page, fetch_page
from adapter.store.tables import completion_metadata, completions
from adapter.store.visible import visible

Completion = dict[str, Any]  # the `chat.completion` object, with the `metadata` that it has now
_SHOWN = (completions.c.body, completions.c.metadata)


class Completions:
    """`store.completions`. Its ids are those of the objects."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def insert(
        self, owner: str, body: Completion, messages: Sequence[dict[str, Any]], metadata: Mapping[str, str]
    ) -> None:
        """Keeps a completion, with the messages of its request.

        Args:
            body: has `id` and `model`.

        Raises:
            RecordTooLarge: nothing is kept.
        """
        packed, packed_messages = orjson.dumps(body), orjson.dumps(list(messages))
        packed_metadata = orjson.dumps(dict(metadata))
        size = len(packed) + len(packed_messages) + len(packed_metadata)
        self._limits.check("The chat completion with its messages", size)
        now = self._limits.clock()
        async with self._database.write() as connection:
            await connection.execute(
                insert(completions).values(
                    id=body["id"],
                    owner=owner,
                    created_at=now,
                    used_at=now,
                    model=body["model"],
                    size=size,
                    metadata=packed_metadata,
                    body=packed,
                    messages=packed_messages,
                )
            )
            await _index_metadata(connection, body["id"], metadata)
        self._database.wrote(size)

    async def get(self, owner: str, id: str) -> Completion | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(*_SHOWN).where(self._is(owner, id)))).one_or_none()
        return None if row is None else _completion(row)

    async def list(
        self,
        owner: str,
        *,
        after: str | None = None,
        limit: int = 20,
        order: Order = "asc",
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Page[Completion]:
        """A page of the owner's, by the time of their creation.

        Args:
            model: only those of this model.
            metadata: only those that have all of these keys, with these values.

        Raises:
            UnknownCursor: the list has no `after`.
        """
        statement = select(*_SHOWN).where(visible(completions, owner, self._limits))
        if model is not None:
            statement = statement.where(completions.c.model == model)
        for key, value in (metadata or {}).items():
            has = select(completion_metadata.c.key).where(
                completion_metadata.c.completion_id == completions.c.id,
                completion_metadata.c.key == key,
                completion_metadata.c.value == value,
            )
            statement = statement.where(has.exists())
        async with self._database.read() as connection:
            rows, has_more = await fetch_page(
                connection,
                statement,
                [completions.c.created_at, completions.c.id],
                after=after,
                at=completions.c.id,
                limit=limit,
                order=order,
            )
        return Page([_completion(row) for row in rows], has_more)

    async def update_metadata(self, owner: str, id: str, metadata: Mapping[str, str]) -> Completion | None:
        """Puts `metadata` in the place of what was there."""
        packed = orjson.dumps(dict(metadata))
        async with self._database.write() as connection:
            row = (
                await connection.execute(
                    select(*_SHOWN, completions.c.size).where(self._is(owner, id)).with_for_update()
                )
            ).one_or_none()
            if row is None:
                return None
            size = row.size - len(row.metadata) + len(packed)
            await connection.execute(
                update(completions).where(completions.c.id == id).values(metadata=packed, size=size)
            )
            await connection.execute(delete(completion_metadata).where(completion_metadata.c.completion_id == id))
            await _index_metadata(connection, id, metadata)
        return {**orjson.loads(row.body), "metadata": dict(metadata)}

    async def delete(self, owner: str, id: str) -> bool:
        """Returns whether there was one."""
        async with self._database.write() as connection:
            gone = await connection.execute(delete(completions).where(self._is(owner, id)))
        return gone.rowcount > 0

    async def messages(
        self, owner: str, id: str, *, after: str | None = None, limit: int = 20, order: Order = "asc"
    ) -> Page[dict[str, Any]] | None:
        """A page of the messages of its request, each with an `id` made of the completion's and its place.

        None: there is no such completion. Raises UnknownCursor: it has no message `after`.
        """
        async with self._database.read() as connection:
            packed: bytes | None = await connection.scalar(select(completions.c.messages).where(self._is(owner, id)))
        if packed is None:
            return None
        all_of_them = [{**message, "id": f"{id}-{place}"} for place, message in enumerate(orjson.loads(packed))]
        if order == "desc":
            all_of_them.reverse()
        start = 0
        if after is not None:
            start = next((place + 1 for place, message in enumerate(all_of_them) if message["id"] == after), 0)
            if not start:
                raise UnknownCursor(after)
        return Page(all_of_them[start : start + limit], len(all_of_them) > start + limit)

    def _is(self, owner: str, id: str) -> Any:
        return (completions.c.id == id) & visible(completions, owner, self._limits)


def _completion(row: Sequence[Any]) -> Completion:
    body, metadata = row
    return {**orjson.loads(body), "metadata": orjson.loads(metadata)}


async def _index_metadata(connection: AsyncConnection, id: str, metadata: Mapping[str, str]) -> None:
    if metadata:
        rows = [{"completion_id": id, "key": key, "value": value} for key, value in metadata.items()]
        await connection.execute(insert(completion_metadata), rows)
