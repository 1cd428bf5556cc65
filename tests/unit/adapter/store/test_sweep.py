from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select

from adapter.store import sweeper
from adapter.store.database import Database
from adapter.store.store import Store
from adapter.store.tables import metadata
from tests.unit.adapter.store.conftest import TTL, Clock, OpenStore
from tests.unit.adapter.store.records import events, finish, insert, message


async def test_what_has_expired_goes(store: Store, clock: Clock) -> None:
    await insert(store, "resp_1", message("msg_1"))
    await insert(store, "resp_2", message("msg_2"), lease=10 * TTL)
    clock.pass_by(TTL / 2)
    await finish(store, "resp_1", events=events(0, 3))  # a change: it begins anew
    await store.completions.insert("ann", {"id": "chatcmpl-1", "model": "m"}, [], {"a": "b"})
    clock.pass_by(TTL - 1)
    assert (await store.sweep()).expired == 0
    assert await store.responses.get("ann", "resp_1") is not None
    clock.pass_by(1)
    assert await store.responses.get("ann", "resp_1") is None
    assert await store.responses.find_item("ann", "msg_1") is None
    assert not await store.responses.delete("ann", "resp_1")
    running = await store.responses.get("ann", "resp_2")
    assert running is not None and running.running
    assert (await store.sweep()).expired == 2
    assert (await store.sweep()).expired == 0
    assert await store.responses.get("ann", "resp_2") is not None


async def test_many_expire_at_once(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "_AT_A_TIME", 10)
    for number in range(30):
        await store.completions.insert("ann", {"id": f"chatcmpl-{number}", "model": "m"}, [], {})
    clock.pass_by(TTL)
    swept = await store.sweep()
    assert (swept.expired, swept.bytes) == (30, 0)


async def test_nothing_is_left_of_what_is_removed(store: Store, url: str, clock: Clock) -> None:
    await insert(store, "resp_1", message("msg_1"))
    await finish(store, "resp_1", message("msg_2"), events=events(0, 3))
    await store.conversations.create("ann", "conv_1", {"a": "b"}, [message("msg_1")])
    await store.completions.insert("ann", {"id": "chatcmpl-1", "model": "m"}, [], {"a": "b"})
    await store.files.insert("ann", "file-1", "f", "batch", b"x", expires_at=None)
    database = Database(url)

    async def left() -> dict[str, int]:
        async with database.read() as connection:
            counts = {
                table.name: await connection.scalar(select(func.count()).select_from(table)) or 0
                for table in metadata.sorted_tables
            }
        return {name: count for name, count in counts.items() if count and name != "secrets"}

    before = await left()
    parts = ("response_items", "response_events", "conversation_items", "completion_metadata", "files")
    assert all(part in before for part in parts)
    clock.pass_by(TTL)
    assert (await store.sweep()).expired == 4
    assert await left() == {}
    await database.close()


async def test_conversation_that_a_response_runs_in_does_not_expire(store: Store, clock: Clock) -> None:
    await store.conversations.create("ann", "conv_1", {})
    assert await store.conversations.lock("ann", "conv_1", "resp_1", TTL + 10)
    clock.pass_by(TTL)
    assert (await store.sweep()).expired == 0
    assert await store.conversations.append_response("ann", "conv_1", "resp_1", [message("msg_1")])
    assert await store.conversations.all_items("ann", "conv_1", max_items=9) == [message("msg_1")]


async def test_oldest_goes_where_there_is_too_much(open_store: OpenStore, clock: Clock) -> None:
    store = await open_store(max_bytes=9000)
    await insert(store, "resp_old_but_running", message("msg_r", "x" * 1500), lease=TTL)
    for number in range(3):
        clock.pass_by(1)
        await insert(store, f"resp_{number}", message(f"msg_{number}", "x" * 1500), owner="bob")
        await finish(store, f"resp_{number}")
        clock.pass_by(1)
        body = {"id": f"chatcmpl-{number}", "model": "m"}
        await store.completions.insert("ann", body, [{"role": "user", "content": "x" * 1500}], {})
    clock.pass_by(1)
    swept = await store.sweep()
    assert (swept.expired, swept.evicted) == (0, 2)
    assert 7000 < swept.bytes <= 9000
    assert await store.responses.get("bob", "resp_0") is None
    assert await store.completions.get("ann", "chatcmpl-0") is None
    assert await store.responses.get("bob", "resp_1") is not None
    assert await store.completions.get("ann", "chatcmpl-1") is not None
    assert await store.responses.get("ann", "resp_old_but_running") is not None
    assert (await store.sweep()).evicted == 0


async def test_events_count(open_store: OpenStore) -> None:
    store = await open_store(max_bytes=3000)
    await insert(store, "resp_1", message("msg_1", "x" * 1500))
    await store.events.append("resp_1", [("t", 0, random_text(2500))])
    assert (await store.sweep()).evicted == 0  # it runs
    await finish(store, "resp_1")
    assert (await store.sweep()).evicted == 1


async def test_conversations_go_last_and_files_stay(open_store: OpenStore, clock: Clock) -> None:
    store = await open_store(max_bytes=10_000)
    await store.files.insert("ann", "file-1", "f", "batch", b"x" * 4000, expires_at=None)
    for number in range(4):
        await store.conversations.create("ann", f"conv_{number}", {}, [message("msg_1", "x" * 1800)])
        clock.pass_by(1)
    await store.conversations.lock("ann", "conv_0", "resp_1", TTL)
    await store.conversations.get("ann", "conv_1")
    clock.pass_by(TTL / 2)
    await store.conversations.get("ann", "conv_1")  # used last
    await store.completions.insert("ann", {"id": "chatcmpl-1", "model": "m"}, [], {})
    swept = await store.sweep()
    assert swept.evicted == 2 and swept.bytes <= 10_000
    assert await store.completions.get("ann", "chatcmpl-1") is None
    left = [number for number in range(4) if await store.conversations.get("ann", f"conv_{number}") is not None]
    assert left == [0, 1, 3]
    assert await store.files.get("ann", "file-1") is not None


async def test_sweeps_at_the_same_time_remove_no_more_than_one(
    open_store: OpenStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "_AT_A_TIME", 4)
    stores = [await open_store(max_bytes=20_000) for _ in range(3)]
    for number in range(30):
        await stores[0].completions.insert(
            "ann", {"id": f"chatcmpl-{number:02}", "model": "m"}, [{"content": "x" * 1000}], {}
        )
        clock.pass_by(1)
    swept = await asyncio.gather(*(store.sweep() for store in stores))
    left = (await stores[0].completions.list("ann", limit=100)).entries
    assert sum(one.evicted for one in swept) == 30 - len(left)
    assert len(left) >= 17
    assert (await stores[0].sweep()).bytes <= 20_000


async def test_much_that_is_written_asks_for_a_sweep(open_store: OpenStore) -> None:
    store = await open_store(max_bytes=32_000)
    due = [store.sweep_due]
    await insert(store, "resp_1", message("msg_1", "x" * 2000))
    due.append(store.sweep_due)
    await store.sweep()
    due.append(store.sweep_due)
    assert due == [False, True, False]


def random_text(size: int) -> bytes:
    """Text that does not compress by much, the same each time."""
    state, letters = 1, bytearray()
    while len(letters) < size:
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        letters.append(48 + (state >> 40) % 64)
    return bytes(letters)
