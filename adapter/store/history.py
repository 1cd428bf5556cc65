"""The chain of previous responses."""

from __future__ import annotations

from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.store.errors import AncestorGone, HistoryCycle, HistoryTooLong, UnknownResponse
from adapter.store.limits import Limits
from adapter.store.record import COLUMNS, Record, record
from adapter.store.tables import responses
from adapter.store.visible import visible_response

_AT_A_TIME = 100


async def read_history(
    connection: AsyncConnection,
    limits: Limits,
    owner: str,
    response_id: str,
    *,
    max_items: int,
    max_responses: int,
    max_bytes: int,
) -> list[Record]:
    """See `Responses.history`."""
    chain = (
        select(responses.c.id, literal(0).label("depth"))
        .where(responses.c.id == response_id, visible_response(owner, limits))
        .cte("chain", recursive=True)
    )
    child = responses.alias("child")
    chain = chain.union_all(
        select(responses.c.id, chain.c.depth + 1)
        .select_from(chain)
        .join(child, child.c.id == chain.c.id)
        .join(responses, responses.c.id == child.c.previous_response_id)
        # One further than allowed says that it is too long; a cycle comes to an end by it too.
        .where(visible_response(owner, limits), chain.c.depth < max_responses)
    )
    count = responses.c.input_count + responses.c.output_count
    size = responses.c.body_size + responses.c.input_size
    rows = (
        await connection.execute(
            select(responses.c.id, responses.c.previous_response_id, count.label("number"), size.label("size"))
            .join(chain, chain.c.id == responses.c.id)
            .order_by(chain.c.depth)
        )
    ).all()
    if not rows:
        raise UnknownResponse(response_id)
    ids = [row.id for row in rows]
    if len(set(ids)) < len(ids):
        raise HistoryCycle(response_id)
    if len(rows) > max_responses:
        raise HistoryTooLong(f"The response '{response_id}' has more than {max_responses} before it.", response_id)
    if rows[-1].previous_response_id is not None:
        raise AncestorGone(rows[-1].previous_response_id)
    items, total = sum(row.number for row in rows), sum(row.size for row in rows)
    if items > max_items:
        message = f"The history of the response '{response_id}' has {items} items, over the limit of {max_items}."
        raise HistoryTooLong(message, response_id)
    if total > max_bytes:
        message = f"The history of the response '{response_id}' has {total} bytes, over the limit of {max_bytes}."
        raise HistoryTooLong(message, response_id)
    found: dict[str, Record] = {}
    for start in range(0, len(ids), _AT_A_TIME):
        some = await connection.execute(select(*COLUMNS).where(responses.c.id.in_(ids[start : start + _AT_A_TIME])))
        found.update((row.id, record(row)) for row in some)
    for one in reversed(ids):
        if one not in found:  # removed since the chain was read
            raise AncestorGone(one)
    return [found[one] for one in reversed(ids)]
