"""Files that wait to be processed for a vector store: taken by one process at a time, and taken up again after it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.store.database import Database
from adapter.store.errors import StoreFull
from adapter.store.limits import Limits
from adapter.store.tables import vector_store_chunks, vector_store_files, vector_stores

_table = vector_store_files.c


@dataclass(frozen=True)
class Claim:
    """A file that this process is to process.

    key: nobody else's claim has it.
    attempt: 1 the first time.
    model, dimensions: as of the vector store.
    """

    owner: str
    vector_store_id: str
    file_id: str
    key: str
    attempt: int
    model: str
    dimensions: int
    chunk_tokens: int
    overlap_tokens: int


@dataclass(frozen=True)
class Chunk:
    """start: where in the file's text it begins, in characters. vectors: FP32, little-endian, of parts of the text."""

    position: int
    start: int
    text: str
    vectors: bytes


class VectorClaims:
    """`store.vector_claims`. A claim ends when it is not renewed; what it has kept by then is begun anew."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def take(self, most: int, lease: float) -> list[Claim]:
        """The next files, at most `most`, for `lease` seconds."""
        waits = self._waits()
        async with self._database.read() as connection:
            if await connection.scalar(select(_table.file_id).where(waits).limit(1)) is None:
                return []
        taken: list[Claim] = []
        async with self._database.write() as connection:
            next_ones = (
                select(
                    *(_table.vector_store_id, _table.file_id, _table.attempts),
                    *(_table.chunk_tokens, _table.overlap_tokens),
                    *(vector_stores.c.owner, vector_stores.c.model, vector_stores.c.dimensions),
                )
                .join(vector_stores, vector_stores.c.id == _table.vector_store_id)
                .where(waits)
                .order_by(_table.created_at, _table.file_id)
                .limit(most)
                .with_for_update(of=vector_store_files, skip_locked=True)
            )
            for row in (await connection.execute(next_ones)).all():
                claim = Claim(
                    row.owner,
                    row.vector_store_id,
                    row.file_id,
                    secrets.token_hex(8),
                    row.attempts + 1,
                    row.model,
                    row.dimensions,
                    row.chunk_tokens,
                    row.overlap_tokens,
                )
                await connection.execute(
                    update(vector_store_files)
                    .where(_table.vector_store_id == claim.vector_store_id, _table.file_id == claim.file_id)
                    .values(claim=claim.key, attempts=claim.attempt, lease_until=self._limits.clock() + lease)
                )
                await self._clear(connection, claim)
                taken.append(claim)
        return taken

    async def renew(self, claims: Sequence[Claim], lease: float) -> set[str]:
        """Prolongs claims; the keys of those are returned that still hold."""
        if not claims:
            return set()
        held = _table.claim.in_([claim.key for claim in claims]) & (_table.status == "in_progress")
        async with self._database.write() as connection:
            await connection.execute(
                update(vector_store_files).where(held).values(lease_until=self._limits.clock() + lease)
            )
            return set((await connection.execute(select(_table.claim).where(held))).scalars())

    async def add_chunks(self, claim: Claim, chunks: Sequence[Chunk]) -> bool:
        """Keeps chunks, which no search sees before `complete`.

        Returns:
            Whether the claim still holds; where not, nothing is kept.
        Raises:
            StoreFull: the chunks of all owners together would take more than a quarter of the store.
        """
        rows = [_row(claim, chunk) for chunk in chunks]
        size = sum(len(row["text"]) + len(row["vectors"]) for row in rows)
        async with self._database.write() as connection:
            taken = await connection.scalar(select(func.coalesce(func.sum(_table.size), 0))) or 0
            if int(taken) + size > self._limits.max_bytes // 4:
                raise StoreFull("There is no room for the file in this server's index.")
            grown = await connection.execute(
                update(vector_store_files).where(self._held(claim)).values(size=_table.size + size)
            )
            if not grown.rowcount:
                return False
            await connection.execute(insert(vector_store_chunks), rows)
        self._database.wrote(size)
        return True

    async def complete(self, claim: Claim) -> bool:
        """The file is ready. Returns whether the claim still held."""
        return await self._end(claim, status="completed")

    async def fail(self, claim: Claim, code: str, message: str) -> bool:
        """Nothing of the file is kept. Returns whether the claim still held."""
        return await self._end(claim, status="failed", error_code=code, error_message=message)

    async def release(self, claim: Claim, delay: float, *, counted: bool = True) -> None:
        """Somebody is to try again, not before `delay` seconds.

        Args:
            counted: whether this was an attempt.
        """
        again = {
            "claim": None,
            "lease_until": self._limits.clock() + delay,
            "attempts": claim.attempt if counted else claim.attempt - 1,
        }
        async with self._database.write() as connection:
            await connection.execute(update(vector_store_files).where(self._held(claim)).values(**again))

    async def _end(self, claim: Claim, **values: Any) -> bool:
        async with self._database.write() as connection:
            ended = await connection.execute(
                update(vector_store_files).where(self._held(claim)).values(claim=None, lease_until=None, **values)
            )
            if ended.rowcount and values["status"] != "completed":
                await self._clear(connection, claim)
        return ended.rowcount > 0

    async def _clear(self, connection: AsyncConnection, claim: Claim) -> None:
        chunks = vector_store_chunks.c
        await connection.execute(
            delete(vector_store_chunks).where(
                chunks.vector_store_id == claim.vector_store_id, chunks.file_id == claim.file_id
            )
        )
        await connection.execute(
            update(vector_store_files)
            .where(_table.vector_store_id == claim.vector_store_id, _table.file_id == claim.file_id)
            .values(size=func.length(_table.attributes))
        )

    def _waits(self) -> ColumnElement[bool]:
        free = or_(_table.lease_until.is_(None), _table.lease_until < self._limits.clock())
        return (_table.status == "in_progress") & free

    def _held(self, claim: Claim) -> ColumnElement[bool]:
        return (
            (_table.vector_store_id == claim.vector_store_id)
            & (_table.file_id == claim.file_id)
            & (_table.claim == claim.key)
            & (_table.status == "in_progress")
        )


def _row(claim: Claim, chunk: Chunk) -> dict[str, Any]:
    return {
        "vector_store_id": claim.vector_store_id,
        "file_id": claim.file_id,
        "position": chunk.position,
        "start": chunk.start,
        "vectors": chunk.vectors,
        "text": chunk.text.encode(),
    }
