"""Which records an owner sees."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, and_, or_

from adapter.store.limits import Limits
from adapter.store.tables import responses


def visible(table: Table, owner: str, limits: Limits) -> ColumnElement[bool]:
    """Those of a table with `owner` and `used_at` that are the owner's and have not expired, swept or not."""
    return and_(table.c.owner == owner, table.c.used_at > limits.oldest)


def visible_response(owner: str, limits: Limits) -> ColumnElement[bool]:
    """A response that runs does not expire."""
    alive = or_(responses.c.running, responses.c.used_at > limits.oldest)
    return and_(responses.c.owner == owner, ~responses.c.deleted, alive)
