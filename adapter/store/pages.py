"""Pages of a list, each after the last one's last entry: what comes or goes meanwhile moves none of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import ColumnElement, Row, Select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.store.errors import UnknownCursor

T = TypeVar("T")
Order = Literal["asc", "desc"]


@dataclass(frozen=True)
class Page(Generic[T]):
    """has_more: whether there are entries after these."""

    entries: list[T]
    has_more: bool


async def fetch_page(
    connection: AsyncConnection,
    statement: Select[Any],
    key: Sequence[ColumnElement[Any]],
    *,
    after: str | None,
    at: ColumnElement[str],
    limit: int,
    order: Order,
    before: str | None = None,
) -> tuple[list[Row[Any]], bool]:
    """The rows of a page, and whether there are more.

    Args:
        statement: selects the whole list, in no order.
        key: columns that order it, without ties.
        after: id of the entry that the page comes after; None: the first page.
        at: the column of that id.
        before: id of the entry that the page ends before: the last page that does, where `after` is None.

    Raises:
        UnknownCursor: the list has no entry `after`, or `before`.
    """
    ascending = order == "asc"
    listed = statement
    for id, later in ((after, ascending), (before, not ascending)):
        if id is not None:
            cursor = (await connection.execute(listed.with_only_columns(*key).where(at == id))).one_or_none()
            if cursor is None:
                raise UnknownCursor(id)
            here, there = tuple_(*key), tuple_(*cursor)
            statement = statement.where(here > there if later else here < there)
    backwards = before is not None and after is None
    statement = statement.order_by(*(column.asc() if ascending != backwards else column.desc() for column in key))
    rows = list((await connection.execute(statement.limit(limit + 1))).all())
    page = rows[:limit]
    return page[::-1] if backwards else page, len(rows) > limit
