"""The events of a response's stream, so that it can be taken up again."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.store.database import Database
from adapter.store.limits import Limits
from adapter.store.tables import response_events, responses
from adapter.store.visible import visible_response

Event = tuple[str, int, bytes]  # type, sequence number, the JSON object on one line

_MOST_ROWS = 64  # read at a time


class Events:
    """`store.events`."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def append(self, response_id: str, events: Sequence[Event]) -> bool:
        """Keeps events of a running response, in order; those that are kept already are left out.

        Returns:
            Whether the response is there and runs; where not, nothing is kept.
        Raises:
            RecordTooLarge: the response's events would be over the limit together.
        """
        if not events:
            return True
        packed = await asyncio.to_thread(pack, events)
        async with self._database.write() as connection:
            row = (
                await connection.execute(
                    select(responses.c.last_event, responses.c.events_size)
                    .where(responses.c.id == response_id, responses.c.running)
                    .with_for_update()
                )
            ).one_or_none()
            if row is None:
                return False
            self._limits.check("The stream of the response", row.events_size + len(packed))
            await append_events(connection, response_id, events, row.last_event, packed)
            return True

    async def read(self, owner: str, response_id: str, after: int, limit: int) -> list[Event]:
        """Events with a sequence number over `after`, in order: at least one if there is any, at most `limit`."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(response_events.c.data)
                .join(responses, responses.c.id == response_events.c.response_id)
                .where(responses.c.id == response_id, visible_response(owner, self._limits))
                .where(response_events.c.last > after)
                .order_by(response_events.c.first)
                .limit(min(limit, _MOST_ROWS))
            )
            packed = list(rows.scalars())
        return await asyncio.to_thread(_unpack, packed, after, limit) if packed else []


async def append_events(
    connection: AsyncConnection, response_id: str, events: Sequence[Event], last: int, packed: bytes
) -> None:
    """Within a transaction that has locked the response's row.

    Args:
        last: `last_event` of the row; what is not after it is left out.
        packed: all of `events`, packed.
    """
    new = [event for event in events if event[1] > last]
    if not new:
        return
    if len(new) < len(events):
        packed = pack(new)
    await connection.execute(
        insert(response_events).values(response_id=response_id, first=new[0][1], last=new[-1][1], data=packed)
    )
    await connection.execute(
        update(responses)
        .where(responses.c.id == response_id)
        .values(last_event=new[-1][1], events_size=responses.c.events_size + len(packed))
    )


def pack(events: Sequence[Event]) -> bytes:
    """One line an event, with its number and type before the JSON, compressed: a stream repeats itself."""
    return zlib.compress(b"\n".join(b"%d %b %b" % (number, type_.encode(), data) for type_, number, data in events), 1)


def _unpack(packed: Sequence[bytes], after: int, limit: int) -> list[Event]:
    events: list[Event] = []
    for chunk in packed:
        for line in zlib.decompress(chunk).split(b"\n"):
            number, type_, data = line.split(b" ", 2)
            if int(number) > after:
                events.append((type_.decode(), int(number), data))
        if len(events) >= limit:
            break
    return events[:limit]
