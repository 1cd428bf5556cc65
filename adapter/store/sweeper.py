"""Removes what has expired, and the oldest where the store is over its size. Any number of processes may do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, func, literal, or_, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.store.database import Database
from adapter.store.limits import Limits
from adapter.store.tables import completions, conversations, files, responses, vector_store_files, vector_stores

_AT_A_TIME = 200  # records: no transaction keeps other writers waiting for long
_MOST_ROUNDS = 1000
_PAGES = 2000  # of the SQLite file, given back at a time
_ADVISORY_LOCK = 0x7472746E73776565
_RESPONSE_SIZE = responses.c.body_size + responses.c.input_size + responses.c.events_size


@dataclass(frozen=True)
class Swept:
    """
    expired, evicted: records removed for their age, and for the size of all.
    bytes: what is left, as the records count themselves.
    """

    expired: int
    evicted: int
    bytes: int


class Sweeper:
    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def sweep(self) -> Swept:
        """Raises StoreUnavailable."""
        self._database.written = 0
        expired = 0
        for table, unused in self._unused():
            for _ in range(_MOST_ROUNDS):
                some = await self._expire(table, unused)
                expired += some
                if some < _AT_A_TIME:
                    break
        evicted = 0
        for _ in range(_MOST_ROUNDS):
            some = await self._evict()
            evicted += some
            if not some:
                break
        if (expired or evicted) and self._database.dialect == "sqlite":
            await self._database.shrink(_PAGES)
        async with self._database.read() as connection:
            return Swept(expired, evicted, await _total(connection))

    def _unused(self) -> list[tuple[Table, ColumnElement[bool]]]:
        """Tables, and what of them has expired."""
        oldest = self._limits.oldest
        return [
            (responses, (responses.c.used_at <= oldest) & ~responses.c.running),
            (completions, completions.c.used_at <= oldest),
            (conversations, (conversations.c.used_at <= oldest) & self._unlocked()),
            (files, or_(files.c.used_at <= oldest, files.c.expires_at <= self._limits.clock())),
            (vector_stores, or_(vector_stores.c.used_at <= oldest, vector_stores.c.expires_at <= self._limits.clock())),
        ]

    def _unlocked(self) -> ColumnElement[bool]:
        return or_(conversations.c.lock_until.is_(None), conversations.c.lock_until < self._limits.clock())

    async def _expire(self, table: Table, unused: ColumnElement[bool]) -> int:
        async with self._database.read() as connection:
            if await connection.scalar(select(table.c.id).where(unused).limit(1)) is None:
                return 0
        async with self._database.write() as connection:
            if not await self._alone(connection):
                return 0
            some = select(table.c.id).where(unused).order_by(table.c.used_at).limit(_AT_A_TIME)
            ids = list((await connection.execute(some)).scalars())
            # Asked once more in the statement that removes: somebody may have used it since.
            return (await connection.execute(delete(table).where(table.c.id.in_(ids), unused))).rowcount

    async def _evict(self) -> int:
        """Responses and completions go first, the oldest before the others; then conversations. Files stay."""
        async with self._database.read() as connection:
            if await _total(connection) <= self._limits.max_bytes:
                return 0
        async with self._database.write() as connection:
            if not await self._alone(connection):
                return 0
            excess = await _total(connection) - self._limits.max_bytes
            ended = ~responses.c.running
            oldest = union_all(
                _sizes("responses", responses, _RESPONSE_SIZE).where(ended),
                _sizes("completions", completions, completions.c.size),
            ).subquery()
            gone = await self._remove(connection, oldest, excess, {"responses": ended})
            if gone or excess <= 0:
                return gone
            oldest = _sizes("conversations", conversations, conversations.c.size).where(self._unlocked()).subquery()
            return await self._remove(connection, oldest, excess, {"conversations": self._unlocked()})

    async def _remove(
        self, connection: AsyncConnection, oldest: Any, excess: int, still: dict[str, ColumnElement[bool]]
    ) -> int:
        rows = await connection.execute(select(oldest).order_by(oldest.c.used_at, oldest.c.id).limit(_AT_A_TIME))
        chosen: dict[str, list[str]] = {}
        for row in rows:
            if excess <= 0:
                break
            excess -= row.size
            chosen.setdefault(row.kind, []).append(row.id)
        gone = 0
        for table in (responses, completions, conversations):
            if ids := chosen.get(table.name):
                statement = delete(table).where(table.c.id.in_(ids), still.get(table.name, literal(True)))
                gone += (await connection.execute(statement)).rowcount
        return gone

    async def _alone(self, connection: AsyncConnection) -> bool:
        """PostgreSQL: two sweeps that remove the same rows could wait for each other."""
        if self._database.dialect == "sqlite":
            return True
        return bool(await connection.scalar(text(f"SELECT pg_try_advisory_xact_lock({_ADVISORY_LOCK})")))


def _sizes(kind: str, table: Table, size: ColumnElement[int]) -> Any:
    return select(literal(kind).label("kind"), table.c.id, table.c.used_at, size.label("size"))


async def _total(connection: AsyncConnection) -> int:
    sums = [
        select(func.coalesce(func.sum(size), 0).label("size"))
        for size in (
            *(_RESPONSE_SIZE, completions.c.size, conversations.c.size, files.c.size),
            *(vector_stores.c.size, vector_store_files.c.size),
        )
    ]
    return int(await connection.scalar(select(func.sum(union_all(*sums).subquery().c.size))) or 0)
