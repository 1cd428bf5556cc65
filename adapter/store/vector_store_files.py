"""The files of vector stores, and batches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.store.database import Database
from adapter.store.errors import StoreFull, UnknownFile
from adapter.store.limits import Limits
from adapter.store.pages import Order, Page, fetch_page
from adapter.store.tables import files, vector_store_batches, vector_store_files, vector_stores
from adapter.store.vector_stores import alive_store, in_time

MOST_FILES = 10_000  # of a vector store
Attributes = Mapping[str, str | float | bool]

_table = vector_store_files.c
_SHOWN = (
    *(_table.vector_store_id, _table.file_id, _table.created_at, _table.status, _table.error_code),
    *(_table.error_message, _table.chunk_tokens, _table.overlap_tokens, _table.size, _table.attributes),
    files.c.filename,
)


@dataclass(frozen=True)
class FileToAdd:
    """chunk_tokens, overlap_tokens: of its chunks. attributes: what a search can filter by."""

    file_id: str
    chunk_tokens: int
    overlap_tokens: int
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True)
class VectorStoreFile:
    """
    created_at: Unix seconds, when it came into the vector store.
    status: in_progress, completed, failed or cancelled.
    error: OpenAI's code, and a message.
    bytes: of its chunks.
    """

    vector_store_id: str
    file_id: str
    filename: str
    created_at: float
    status: str
    error: tuple[str, str] | None
    bytes: int
    chunk_tokens: int
    overlap_tokens: int
    attributes: dict[str, str | float | bool]


@dataclass(frozen=True)
class Batch:
    """counts: of its files by status, those that there are."""

    id: str
    vector_store_id: str
    created_at: float
    cancelled: bool
    counts: Mapping[str, int]


class VectorStoreFiles:
    """`store.vector_store_files`. A method returns None where the vector store, or the file in it, is not there."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def add(
        self, owner: str, vector_store_id: str, added: Sequence[FileToAdd], *, batch_id: str | None = None
    ) -> bool:
        """Puts files in, to be processed: all or none. One that is there already is processed anew.

        Returns:
            Whether there is such a vector store.
        Raises:
            UnknownFile: the owner has no such file.
            StoreFull: the vector store would have more files than it may.
        """
        unique = {file.file_id: file for file in added}
        now = self._limits.clock()
        async with self._database.write() as connection:
            mine = select(vector_stores.c.id).where(
                vector_stores.c.id == vector_store_id, alive_store(owner, self._limits)
            )
            if (await connection.execute(mine.with_for_update())).one_or_none() is None:
                return False
            known = select(files.c.id).where(
                files.c.id.in_(list(unique)), files.c.owner == owner, in_time(self._limits)
            )
            missing = set(unique).difference((await connection.execute(known)).scalars())
            if missing:
                raise UnknownFile(next(id for id in unique if id in missing))
            inside = _table.vector_store_id == vector_store_id
            await connection.execute(delete(vector_store_files).where(inside, _table.file_id.in_(list(unique))))
            count = select(func.count()).select_from(vector_store_files).where(inside)
            if (await connection.scalar(count) or 0) + len(unique) > MOST_FILES:
                raise StoreFull(f"A vector store takes at most {MOST_FILES} files.")
            if batch_id is not None:
                await connection.execute(
                    insert(vector_store_batches).values(
                        id=batch_id, vector_store_id=vector_store_id, created_at=now, cancelled=False
                    )
                )
            rows = [_row(vector_store_id, file, batch_id, now) for file in unique.values()]
            if rows:
                await connection.execute(insert(vector_store_files), rows)
            await connection.execute(
                update(vector_stores)
                .where(vector_stores.c.id == vector_store_id)
                .values(used_at=now, expires_at=now + vector_stores.c.expires_days * 86_400.0)
            )
        self._database.wrote(sum(row["size"] for row in rows))
        return True

    async def get(self, owner: str, vector_store_id: str, file_id: str) -> VectorStoreFile | None:
        async with self._database.read() as connection:
            row = (await connection.execute(self._mine(owner, vector_store_id, file_id))).one_or_none()
        return None if row is None else _file(row)

    async def list(
        self,
        owner: str,
        vector_store_id: str,
        *,
        batch_id: str | None = None,
        status: str | None = None,
        after: str | None = None,
        before: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[VectorStoreFile]:
        """A page of the files, by the time they came in; empty where there is no such vector store.

        Raises:
            UnknownCursor: the list has no such entry.
        """
        statement = self._mine(owner, vector_store_id)
        if batch_id is not None:
            statement = statement.where(_table.batch_id == batch_id)
        if status is not None:
            statement = statement.where(_table.status == status)
        async with self._database.read() as connection:
            rows, has_more = await fetch_page(
                connection,
                statement,
                [_table.created_at, _table.file_id],
                after=after,
                before=before,
                at=_table.file_id,
                limit=limit,
                order=order,
            )
        return Page([_file(row) for row in rows], has_more)

    async def update_attributes(
        self, owner: str, vector_store_id: str, file_id: str, attributes: Attributes
    ) -> VectorStoreFile | None:
        """Puts other attributes in the place of what was there."""
        packed = orjson.dumps(dict(attributes))
        async with self._database.write() as connection:
            row = (await connection.execute(self._mine(owner, vector_store_id, file_id))).one_or_none()
            if row is None:
                return None
            await connection.execute(
                update(vector_store_files)
                .where(_table.vector_store_id == vector_store_id, _table.file_id == file_id)
                .values(attributes=packed, size=_table.size + len(packed) - func.length(_table.attributes))
            )
            row = (await connection.execute(self._mine(owner, vector_store_id, file_id))).one()
        return _file(row)

    async def delete(self, owner: str, vector_store_id: str, file_id: str) -> bool:
        """Takes a file out; the file itself stays. Returns whether it was in."""
        async with self._database.write() as connection:
            if (await connection.execute(self._mine(owner, vector_store_id, file_id))).one_or_none() is None:
                return False
            await connection.execute(
                delete(vector_store_files).where(_table.vector_store_id == vector_store_id, _table.file_id == file_id)
            )
        return True

    async def get_batch(self, owner: str, vector_store_id: str, batch_id: str) -> Batch | None:
        async with self._database.read() as connection:
            return await self._batch(connection, owner, vector_store_id, batch_id)

    async def cancel_batch(self, owner: str, vector_store_id: str, batch_id: str) -> Batch | None:
        """Those of its files that are not processed yet will not be."""
        async with self._database.write() as connection:
            if await self._batch(connection, owner, vector_store_id, batch_id) is None:
                return None
            waiting = update(vector_store_files).where(_table.batch_id == batch_id, _table.status == "in_progress")
            cancelled = await connection.execute(waiting.values(status="cancelled", claim=None, lease_until=None))
            if cancelled.rowcount:
                await connection.execute(
                    update(vector_store_batches).where(vector_store_batches.c.id == batch_id).values(cancelled=True)
                )
            return await self._batch(connection, owner, vector_store_id, batch_id)

    def _mine(self, owner: str, vector_store_id: str, file_id: str | None = None) -> Select[Any]:
        statement = (
            select(*_SHOWN)
            .join(vector_stores, vector_stores.c.id == _table.vector_store_id)
            .join(files, files.c.id == _table.file_id)
            .where(_table.vector_store_id == vector_store_id, alive_store(owner, self._limits), in_time(self._limits))
        )
        return statement if file_id is None else statement.where(_table.file_id == file_id)

    async def _batch(
        self, connection: AsyncConnection, owner: str, vector_store_id: str, batch_id: str
    ) -> Batch | None:
        batches = vector_store_batches.c
        of: ColumnElement[bool] = (batches.id == batch_id) & (batches.vector_store_id == vector_store_id)
        found = (
            await connection.execute(
                select(batches.created_at, batches.cancelled)
                .join(vector_stores, vector_stores.c.id == batches.vector_store_id)
                .where(of, alive_store(owner, self._limits))
            )
        ).one_or_none()
        if found is None:
            return None
        counted = select(_table.status, func.count()).where(_table.batch_id == batch_id).group_by(_table.status)
        counts = {status: count for status, count in await connection.execute(counted)}
        return Batch(batch_id, vector_store_id, found.created_at, found.cancelled, counts)


def _row(vector_store_id: str, file: FileToAdd, batch_id: str | None, now: float) -> dict[str, Any]:
    packed = orjson.dumps(dict(file.attributes))
    return {
        "vector_store_id": vector_store_id,
        "file_id": file.file_id,
        "created_at": now,
        "batch_id": batch_id,
        "status": "in_progress",
        "attempts": 0,
        "chunk_tokens": file.chunk_tokens,
        "overlap_tokens": file.overlap_tokens,
        "size": len(packed),
        "attributes": packed,
    }


def _file(row: Any) -> VectorStoreFile:
    """From a row of `_SHOWN`."""
    return VectorStoreFile(
        vector_store_id=row.vector_store_id,
        file_id=row.file_id,
        filename=row.filename,
        created_at=row.created_at,
        status=row.status,
        error=None if row.error_code is None else (row.error_code, row.error_message or ""),
        bytes=row.size,
        chunk_tokens=row.chunk_tokens,
        overlap_tokens=row.overlap_tokens,
        attributes=orjson.loads(row.attributes),
    )
