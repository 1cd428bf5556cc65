"""The chunks of files that are ready: their vectors page by page for a search, their texts for its results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Select, and_, select, tuple_

from adapter.store.database import Database
from adapter.store.limits import Limits
from adapter.store.tables import files, vector_store_chunks, vector_store_files, vector_stores
from adapter.store.vector_stores import alive_store, in_time

_AT_A_TIME = 256  # chunks: some megabytes of vectors

Place = tuple[str, int]
"""The file's id, and the chunk's position in it."""

_chunks = vector_store_chunks.c


class ReadyFile(NamedTuple):
    file_id: str
    filename: str
    attributes: dict[str, str | float | bool]


class VectorChunks:
    """`store.vector_chunks`: of the owner's vector stores, and of files in them that are completed."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def files(self, owner: str, vector_store_id: str) -> list[ReadyFile]:
        """The files that can be searched."""
        statement = self._mine(
            select(vector_store_files.c.file_id, files.c.filename, vector_store_files.c.attributes),
            owner,
            vector_store_id,
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).all()
        return [ReadyFile(row.file_id, row.filename, orjson.loads(row.attributes)) for row in rows]

    async def vectors(
        self, owner: str, vector_store_id: str, file_ids: Collection[str]
    ) -> AsyncIterator[list[tuple[Place, bytes]]]:
        """The vectors of all chunks of these files, in pages."""
        last: Place | None = None
        while file_ids:
            statement = (
                self._with_chunks(select(_chunks.file_id, _chunks.position, _chunks.vectors), owner, vector_store_id)
                .where(_chunks.file_id.in_(list(file_ids)))
                .order_by(_chunks.file_id, _chunks.position)
                .limit(_AT_A_TIME)
            )
            if last is not None:
                statement = statement.where(tuple_(_chunks.file_id, _chunks.position) > tuple_(*last))
            async with self._database.read() as connection:
                rows = (await connection.execute(statement)).all()
            if rows:
                yield [((row.file_id, row.position), row.vectors) for row in rows]
                last = rows[-1].file_id, rows[-1].position
            if len(rows) < _AT_A_TIME:
                return

    async def texts(self, owner: str, vector_store_id: str, places: Sequence[Place]) -> dict[Place, str]:
        """The texts of chunks; one that has gone meanwhile is left out."""
        if not places:
            return {}
        statement = self._with_chunks(
            select(_chunks.file_id, _chunks.position, _chunks.text), owner, vector_store_id
        ).where(
            _chunks.file_id.in_({file_id for file_id, _ in places}),
            _chunks.position.in_({position for _, position in places}),
        )
        wanted = set(places)
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).all()
        return {place: row.text.decode() for row in rows if (place := (row.file_id, row.position)) in wanted}

    async def content(self, owner: str, vector_store_id: str, file_id: str) -> str:
        """The text of a file, as its chunks hold it."""
        statement = self._with_chunks(select(_chunks.start, _chunks.text), owner, vector_store_id)
        statement = statement.where(_chunks.file_id == file_id).order_by(_chunks.position)
        pieces: list[str] = []
        end = 0
        async with self._database.read() as connection:
            for row in (await connection.execute(statement)).all():
                text = row.text.decode()
                pieces.append(text[end - row.start :])
                end = row.start + len(text)
        return "".join(pieces)

    def _with_chunks(self, statement: Select[Any], owner: str, vector_store_id: str) -> Select[Any]:
        inside = and_(
            _chunks.vector_store_id == vector_store_files.c.vector_store_id,
            _chunks.file_id == vector_store_files.c.file_id,
        )
        return self._mine(
            statement.select_from(vector_store_chunks).join(vector_store_files, inside), owner, vector_store_id
        )

    def _mine(self, statement: Select[Any], owner: str, vector_store_id: str) -> Select[Any]:
        return (
            statement.join(vector_stores, vector_stores.c.id == vector_store_files.c.vector_store_id)
            .join(files, files.c.id == vector_store_files.c.file_id)
            .where(
                vector_store_files.c.vector_store_id == vector_store_id,
                vector_store_files.c.status == "completed",
                alive_store(owner, self._limits),
                in_time(self._limits),
            )
        )
