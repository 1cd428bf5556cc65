"""Vector stores: what they are called and what is in them, and for how long they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.store.database import Database
from adapter.store.errors import StoreFull
from adapter.store.limits import Limits
from adapter.store.pages import Order, Page, fetch_page
from adapter.store.tables import files, vector_store_files, vector_stores
from adapter.store.visible import visible

MOST_STORES = 10_000  # of an owner
A_DAY = 86_400
_TOUCH_EVERY = 60.0  # seconds between two notes of a use
_SHOWN = tuple(column for column in vector_stores.c if column.name not in ("owner", "size"))


@dataclass(frozen=True)
class VectorStore:
    """
    created_at, used_at, expires_at: Unix seconds.
    expires_days: after its last use; None: where the client has named no time, and `expires_at` is None too.
    model, dimensions: id of the embedding model, and the length of its vectors.
    bytes: of its files' chunks.
    counts: files by status, those that there are.
    """

    id: str
    name: str
    description: str | None
    created_at: float
    used_at: float
    expires_days: int | None
    expires_at: float | None
    model: str
    dimensions: int
    metadata: dict[str, str]
    bytes: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


class VectorStores:
    """`store.vector_stores`. Their files are `store.vector_store_files`."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def create(
        self,
        owner: str,
        id: str,
        *,
        name: str,
        description: str | None,
        model: str,
        dimensions: int,
        metadata: Mapping[str, str],
        expires_days: int | None,
    ) -> VectorStore:
        """Raises StoreFull: the owner has as many as there may be."""
        now = self._limits.clock()
        packed = orjson.dumps(dict(metadata))
        async with self._database.write() as connection:
            mine = select(func.count()).select_from(vector_stores).where(vector_stores.c.owner == owner)
            if (await connection.scalar(mine) or 0) >= MOST_STORES:
                raise StoreFull(f"There are {MOST_STORES} vector stores already: delete others, or let them expire.")
            await connection.execute(
                insert(vector_stores).values(
                    id=id,
                    owner=owner,
                    created_at=now,
                    used_at=now,
                    expires_days=expires_days,
                    expires_at=_expiry(now, expires_days),
                    model=model,
                    dimensions=dimensions,
                    size=_size(name, description, packed),
                    name=name,
                    description=description,
                    metadata=packed,
                )
            )
            found = await self._get(connection, owner, id)
        assert found is not None
        return found

    async def get(self, owner: str, id: str) -> VectorStore | None:
        async with self._database.read() as connection:
            return await self._get(connection, owner, id)

    async def list(
        self,
        owner: str,
        *,
        after: str | None = None,
        before: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[VectorStore]:
        """A page of the owner's, by the time of their creation. Raises UnknownCursor: the list has no such entry."""
        async with self._database.read() as connection:
            rows, has_more = await fetch_page(
                connection,
                select(*_SHOWN).where(alive_store(owner, self._limits)),
                [vector_stores.c.created_at, vector_stores.c.id],
                after=after,
                before=before,
                at=vector_stores.c.id,
                limit=limit,
                order=order,
            )
            return Page(list(await self._filled(connection, rows)), has_more)

    async def update(self, owner: str, id: str, changes: Mapping[str, Any]) -> VectorStore | None:
        """Changes some of `name`, `metadata` and `expires_days`; it counts as a use."""
        async with self._database.write() as connection:
            mine = select(vector_stores).where(vector_stores.c.id == id, alive_store(owner, self._limits))
            row = (await connection.execute(mine.with_for_update())).one_or_none()
            if row is None:
                return None
            now = self._limits.clock()
            name, days = changes.get("name", row.name), changes.get("expires_days", row.expires_days)
            packed = orjson.dumps(dict(changes["metadata"])) if "metadata" in changes else row.metadata
            await connection.execute(
                update(vector_stores)
                .where(vector_stores.c.id == id)
                .values(
                    name=name,
                    metadata=packed,
                    expires_days=days,
                    used_at=now,
                    expires_at=_expiry(now, days),
                    size=_size(name, row.description, packed),
                )
            )
            return await self._get(connection, owner, id)

    async def delete(self, owner: str, id: str) -> bool:
        """With all that was made of its files; the files stay. Returns whether there was one."""
        async with self._database.write() as connection:
            gone = await connection.execute(
                delete(vector_stores).where(vector_stores.c.id == id, alive_store(owner, self._limits))
            )
        return gone.rowcount > 0

    async def use(self, owner: str, id: str) -> VectorStore | None:
        """As `get`, but it counts as a use: of the files in it, too, which would expire under it otherwise."""
        found = await self.get(owner, id)
        now = self._limits.clock()
        if found is None or now - found.used_at < min(_TOUCH_EVERY, self._limits.ttl / 64):
            return found
        inside = select(vector_store_files.c.file_id).where(vector_store_files.c.vector_store_id == id)
        unused = files.c.used_at < now - self._limits.ttl / 64
        async with self._database.write() as connection:
            await connection.execute(
                update(vector_stores)
                .where(vector_stores.c.id == id)
                .values(used_at=now, expires_at=_expiry(now, found.expires_days))
            )
            await connection.execute(update(files).where(files.c.id.in_(inside), unused).values(used_at=now))
        return found

    async def _get(self, connection: AsyncConnection, owner: str, id: str) -> VectorStore | None:
        mine = select(*_SHOWN).where(vector_stores.c.id == id, alive_store(owner, self._limits))
        filled = await self._filled(connection, (await connection.execute(mine)).all())
        return filled[0] if filled else None

    async def _filled(self, connection: AsyncConnection, rows: Sequence[Any]) -> Sequence[VectorStore]:
        """With the numbers and the size of their files."""
        inside = vector_store_files.c
        ids = [row.id for row in rows]
        sums = (
            select(inside.vector_store_id, inside.status, func.count(), func.coalesce(func.sum(inside.size), 0))
            .join(files, files.c.id == inside.file_id)
            .where(inside.vector_store_id.in_(ids), in_time(self._limits))
            .group_by(inside.vector_store_id, inside.status)
        )
        counts: dict[str, dict[str, int]] = {id: {} for id in ids}
        sizes: dict[str, int] = dict.fromkeys(ids, 0)
        for id, status, count, size in await connection.execute(sums) if ids else ():
            counts[id][status] = count
            sizes[id] += int(size)
        return [
            VectorStore(
                **{**row._mapping, "metadata": orjson.loads(row.metadata)}, bytes=sizes[row.id], counts=counts[row.id]
            )
            for row in rows
        ]


def alive_store(owner: str, limits: Limits) -> ColumnElement[bool]:
    """Vector stores that the owner sees."""
    in_time = or_(vector_stores.c.expires_at.is_(None), vector_stores.c.expires_at > limits.clock())
    return and_(visible(vector_stores, owner, limits), in_time)


def in_time(limits: Limits) -> ColumnElement[bool]:
    """Files that have not expired, swept or not."""
    now = limits.clock()
    return and_(files.c.used_at > limits.oldest, or_(files.c.expires_at.is_(None), files.c.expires_at > now))


def _expiry(used_at: float, days: int | None) -> float | None:
    return None if days is None else used_at + days * A_DAY


def _size(name: str, description: str | None, metadata: bytes) -> int:
    return len(name.encode("utf-8", "replace")) + len((description or "").encode("utf-8", "replace")) + len(metadata)
