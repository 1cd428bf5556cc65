"""Uploaded files; their contents lie in the same database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update

from adapter.store.database import Database
from adapter.store.errors import StoreFull
from adapter.store.limits import Limits
from adapter.store.pages import Order, Page, fetch_page
from adapter.store.tables import files
from adapter.store.visible import visible

_SHOWN = (files.c.id, files.c.created_at, files.c.expires_at, files.c.filename, files.c.purpose, files.c.size)


@dataclass(frozen=True)
class File:
    """
    created_at, expires_at: Unix seconds; expires_at: None where the client has named no time.
    bytes: size of the content.
    """

    id: str
    created_at: float
    expires_at: float | None
    filename: str
    purpose: str
    bytes: int


class Files:
    """`store.files`."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def insert(
        self, owner: str, id: str, filename: str, purpose: str, content: bytes, *, expires_at: float | None
    ) -> File:
        """Keeps a file.

        Raises:
            RecordTooLarge: the file is over the limit.
            StoreFull: all owners' files together would take more than half of the store. Nobody's file is removed
                for another's, and responses must find room beside them.
        """
        self._limits.check("The file", len(content))
        now = self._limits.clock()
        async with self._database.write() as connection:
            taken = await connection.scalar(select(func.coalesce(func.sum(files.c.size), 0))) or 0
            if taken + len(content) > self._limits.max_bytes // 2:
                raise StoreFull("There is no room for the file: delete others, or let them expire sooner.")
            await connection.execute(
                insert(files).values(
                    id=id,
                    owner=owner,
                    created_at=now,
                    used_at=now,
                    expires_at=expires_at,
                    filename=filename,
                    purpose=purpose,
                    size=len(content),
                    content=content,
                )
            )
        self._database.wrote(len(content))
        return File(id, now, expires_at, filename, purpose, len(content))

    async def get(self, owner: str, id: str) -> File | None:
        found = await self._find(owner, id, *_SHOWN)
        return None if found is None else _file(found)

    async def content(self, owner: str, id: str) -> bytes | None:
        found = await self._find(owner, id, files.c.content)
        return None if found is None else found[0]

    async def list(
        self,
        owner: str,
        *,
        purpose: str | None = None,
        after: str | None = None,
        limit: int = 10_000,
        order: Order = "desc",
    ) -> Page[File]:
        """A page of the owner's, by the time of their creation. Raises UnknownCursor: the list has no `after`."""
        statement = select(*_SHOWN).where(self._alive(owner))
        if purpose is not None:
            statement = statement.where(files.c.purpose == purpose)
        async with self._database.read() as connection:
            rows, has_more = await fetch_page(
                connection,
                statement,
                [files.c.created_at, files.c.id],
                after=after,
                at=files.c.id,
                limit=limit,
                order=order,
            )
        return Page([_file(row) for row in rows], has_more)

    async def delete(self, owner: str, id: str) -> bool:
        """Returns whether there was one."""
        async with self._database.write() as connection:
            gone = await connection.execute(delete(files).where(files.c.id == id, self._alive(owner)))
        return gone.rowcount > 0

    async def _find(self, owner: str, id: str, *columns: ColumnElement[Any]) -> tuple[Any, ...] | None:
        async with self._database.read() as connection:
            statement = select(files.c.used_at, *columns).where(files.c.id == id, self._alive(owner))
            row = (await connection.execute(statement)).one_or_none()
        if row is None:
            return None
        used_at, *values = row
        if self._limits.use_again(used_at):
            async with self._database.write() as connection:
                await connection.execute(update(files).where(files.c.id == id).values(used_at=self._limits.clock()))
        return tuple(values)

    def _alive(self, owner: str) -> ColumnElement[bool]:
        in_time = or_(files.c.expires_at.is_(None), files.c.expires_at > self._limits.clock())
        return and_(visible(files, owner, self._limits), in_time)


def _file(row: Sequence[Any]) -> File:
    """From a row of `_SHOWN`."""
    id, created_at, expires_at, filename, purpose, size = row
    return File(id, created_at, expires_at, filename, purpose, size)
