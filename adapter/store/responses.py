"""Responses: kept from the first moment on, so that every process knows of them, and held by a lease while they run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

import orjson
from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapter.store.conversation_items import add_to_conversation, release
from adapter.store.database import Database
from adapter.store.events import Event, append_events, pack
from adapter.store.history import read_history
from adapter.store.item_index import find_item, index_items
from adapter.store.limits import Limits
from adapter.store.record import COLUMNS, Item, Record, record
from adapter.store.tables import conversations, responses
from adapter.store.visible import visible_response

_AT_A_TIME = 200
_HISTORY_BYTES = 64 << 20


class Responses:
    """`store.responses`. Ids are the caller's: unique, and no more than 255 characters."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    async def insert(
        self,
        owner: str,
        id: str,
        body: dict[str, Any],
        input_items: list[Item],
        *,
        background: bool,
        conversation_id: str | None,
        previous_response_id: str | None,
        worker: str,
        lease: float,
    ) -> None:
        """Keeps a response that begins to run.

        Args:
            worker: names this process, for a person who looks into the database.
            lease: seconds after which it counts as abandoned, unless `renew` is called.

        Raises:
            RecordTooLarge: nothing is kept.
        """
        packed, packed_input = orjson.dumps(body), orjson.dumps(input_items)
        self._limits.check("The response with its input", len(packed) + len(packed_input))
        output = list(body["output"])
        now = self._limits.clock()
        async with self._database.write() as connection:
            await connection.execute(
                insert(responses).values(
                    id=id,
                    owner=owner,
                    created_at=now,
                    used_at=now,
                    background=background,
                    previous_response_id=previous_response_id,
                    conversation_id=conversation_id,
                    worker=worker,
                    running=True,
                    lease_until=now + lease,
                    cancel_requested=False,
                    deleted=False,
                    input_count=len(input_items),
                    output_count=len(output),
                    last_event=-1,
                    body_size=len(packed),
                    input_size=len(packed_input),
                    events_size=0,
                    body=packed,
                    input_items=packed_input,
                )
            )
            await index_items(connection, self._database, owner, id, [*input_items, *output])
        self._database.wrote(len(packed) + len(packed_input))

    async def save(
        self,
        id: str,
        body: dict[str, Any],
        *,
        running: bool,
        events: Sequence[Event] = (),
        conversation_items: Sequence[Item] = (),
    ) -> bool:
        """Keeps a running response as it is now, all of it in one transaction.

        Args:
            running: False: it has ended. Its lease ends, and its conversation is unlocked.
            events: the stream's since the last time; those that are kept already are left out.
            conversation_items: what its conversation gets at the end.

        Returns:
            Whether it was kept: not when it was deleted, or when it was ended before, by whoever took it for abandoned.
        Raises:
            RecordTooLarge: nothing is changed.
        """
        packed = orjson.dumps(body)
        output = list(body["output"])
        packed_events = await asyncio.to_thread(pack, events) if events else b""
        async with self._database.write() as connection:
            row = (
                await connection.execute(
                    select(
                        responses.c.owner,
                        responses.c.conversation_id,
                        responses.c.deleted,
                        responses.c.last_event,
                        responses.c.input_size,
                    )
                    .where(responses.c.id == id, responses.c.running)
                    .with_for_update()
                )
            ).one_or_none()
            if row is None:
                return False
            if not running and row.conversation_id is not None:
                await add_to_conversation(
                    connection, self._limits, row.owner, row.conversation_id, id, list(conversation_items)
                )
            if row.deleted:
                if not running:
                    await connection.execute(delete(responses).where(responses.c.id == id))
                return False
            self._limits.check("The response with its input", len(packed) + row.input_size)
            await self._put(connection, id, packed, running, len(output))
            await append_events(connection, id, events, row.last_event, packed_events)
            await index_items(connection, self._database, row.owner, id, output)
        self._database.wrote(len(packed) + len(packed_events))
        return True

    async def get(self, owner: str, id: str) -> Record | None:
        async with self._database.read() as connection:
            return await self._get(connection, owner, id)

    async def delete(self, owner: str, id: str) -> bool:
        """Removes it with its events; one that runs is to be cancelled, and nobody sees it any more.

        Returns:
            Whether there was one.
        """
        async with self._database.write() as connection:
            running = await connection.scalar(
                select(responses.c.running)
                .where(responses.c.id == id, visible_response(owner, self._limits))
                .with_for_update()
            )
            if running is None:
                return False
            if running:
                # Whoever makes it has yet to hear of it.
                await connection.execute(
                    update(responses).where(responses.c.id == id).values(deleted=True, cancel_requested=True)
                )
            else:
                await connection.execute(delete(responses).where(responses.c.id == id))
        return True

    async def request_cancel(self, owner: str, id: str) -> Record | None:
        """Asks whoever makes it to cancel it; nothing is changed when it has ended. The record as it is then."""
        async with self._database.write() as connection:
            await connection.execute(
                update(responses)
                .where(responses.c.id == id, visible_response(owner, self._limits), responses.c.running)
                .values(cancel_requested=True)
            )
            return await self._get(connection, owner, id)

    async def renew(self, ids: Collection[str], lease: float) -> set[str]:
        """Says that these still run here, for `lease` seconds more; likewise the locks of their conversations.

        Ids that are not kept are passed over, but for their conversations.

        Returns:
            Those that are to end now: cancellation was asked for, or somebody has ended the record.
        """
        until = self._limits.clock() + lease
        ending: set[str] = set()
        ordered = sorted(ids)
        for start in range(0, len(ordered), _AT_A_TIME):
            some = ordered[start : start + _AT_A_TIME]
            async with self._database.write() as connection:
                await connection.execute(
                    update(responses).where(responses.c.id.in_(some), responses.c.running).values(lease_until=until)
                )
                await connection.execute(
                    update(conversations).where(conversations.c.locked_by.in_(some)).values(lock_until=until)
                )
                found = await connection.execute(
                    select(responses.c.id)
                    .where(responses.c.id.in_(some))
                    .where(or_(responses.c.cancel_requested, ~responses.c.running))
                )
                ending.update(found.scalars())
        return ending

    async def fail_abandoned(
        self,
        make_body: Callable[[dict[str, Any]], dict[str, Any]],
        make_event: Callable[[dict[str, Any], int], Event],
    ) -> list[str]:
        """Ends every response whose lease is over, of all owners; each by one process only.

        Args:
            make_body: from the response object as it was kept last to the failed one.
            make_event: from the failed one and a sequence number to the last event. It is kept where events are: of
                a response in the background, or one that has some.

        Returns:
            Their ids.
        """
        failed: list[str] = []
        overdue = (responses.c.running, responses.c.lease_until < self._limits.clock())
        while True:
            async with self._database.read() as connection:  # it is asked often, and the answer is mostly no
                if await connection.scalar(select(responses.c.id).where(*overdue).limit(1)) is None:
                    return failed
            async with self._database.write() as connection:
                rows = (
                    await connection.execute(
                        select(*COLUMNS, responses.c.deleted)
                        .where(*overdue)
                        .order_by(responses.c.lease_until)
                        .limit(_AT_A_TIME)
                        .with_for_update(skip_locked=True)
                    )
                ).all()
                for *fields, deleted in rows:
                    kept = record(fields)
                    if kept.conversation_id is not None:
                        await release(connection, kept.conversation_id, kept.id)
                    if deleted:
                        await connection.execute(delete(responses).where(responses.c.id == kept.id))
                        continue
                    body = make_body(kept.body)
                    await self._put(connection, kept.id, orjson.dumps(body), False, len(body["output"]))
                    if kept.background or kept.last_event >= 0:
                        event = make_event(body, kept.last_event + 1)
                        await append_events(connection, kept.id, [event], kept.last_event, pack([event]))
                    failed.append(kept.id)
            if not rows:  # another process is at them
                return failed

    async def history(
        self, owner: str, id: str, *, max_items: int, max_responses: int, max_bytes: int = _HISTORY_BYTES
    ) -> list[Record]:
        """The response and those before it, oldest first. Some may still run.

        Raises:
            UnknownResponse: there is no response `id`.
            AncestorGone: one before it was deleted, or has expired.
            HistoryCycle, HistoryTooLong.
        """
        async with self._database.read() as connection:
            return await read_history(
                connection,
                self._limits,
                owner,
                id,
                max_items=max_items,
                max_responses=max_responses,
                max_bytes=max_bytes,
            )

    async def find_item(self, owner: str, item_id: str) -> Item | None:
        """The item with this id, of the input or the output of a response, or of a conversation."""
        async with self._database.read() as connection:
            return await find_item(connection, self._limits, owner, item_id)

    async def _get(self, connection: AsyncConnection, owner: str, id: str) -> Record | None:
        rows = await connection.execute(
            select(*COLUMNS).where(responses.c.id == id, visible_response(owner, self._limits))
        )
        row = rows.one_or_none()
        return None if row is None else record(row)

    async def _put(self, connection: AsyncConnection, id: str, body: bytes, running: bool, output: int) -> None:
        values: dict[str, Any] = {"body": body, "body_size": len(body), "output_count": output}
        if not running:
            values |= {"running": False, "lease_until": None, "used_at": self._limits.clock()}
        await connection.execute(update(responses).where(responses.c.id == id).values(**values))
