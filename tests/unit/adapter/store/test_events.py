from __future__ import annotations

import pytest

from adapter.store.errors import RecordTooLarge
from adapter.store.events import Event
from adapter.store.store import Store
from tests.unit.adapter.store.conftest import OpenStore
from tests.unit.adapter.store.records import event, events, finish, insert


async def test_events_come_back_in_order_byte_for_byte(store: Store) -> None:
    await insert(store, "resp_1")
    written = [event(0, "response.created"), *events(1, 40), event(41, delta='Ünïcode "quoted"\n 😀')]
    assert await store.events.append("resp_1", written[:7])
    assert await store.events.append("resp_1", written[7:30])
    assert await store.events.append("resp_1", written[30:])
    assert await _read_all(store, -1) == written
    for after in (0, 6, 7, 29, 40):
        assert await _read_all(store, after) == written[after + 1 :]
    assert await store.events.read("ann", "resp_1", 3, 5) == written[4:9]
    assert await store.events.read("ann", "resp_1", 41, 5) == []


async def test_another_process_reads_what_was_appended(store: Store, open_store: OpenStore) -> None:
    other = await open_store()
    await insert(store, "resp_1")
    await store.events.append("resp_1", events(0, 3))
    assert await other.events.read("ann", "resp_1", -1, 9) == events(0, 3)
    await finish(store, "resp_1", events=events(4, 5))
    assert await other.events.read("ann", "resp_1", 3, 9) == events(4, 5)
    record = await other.responses.get("ann", "resp_1")
    assert record is not None and record.last_event == 5


async def test_events_that_are_kept_already_are_left_out(store: Store) -> None:
    await insert(store, "resp_1")
    assert await store.events.append("resp_1", [])
    for first, last in ((0, 3), (0, 3), (2, 5), (5, 5)):
        assert await store.events.append("resp_1", events(first, last))
    await finish(store, "resp_1", events=events(4, 7))
    assert await _read_all(store, -1) == events(0, 7)


async def test_nothing_is_appended_to_what_has_ended(store: Store) -> None:
    await insert(store, "resp_1")
    await finish(store, "resp_1", events=events(0, 1))
    assert not await store.events.append("resp_1", events(2, 3))
    assert not await store.events.append("resp_unknown", events(0, 1))
    assert await _read_all(store, -1) == events(0, 1)


async def test_stream_over_the_limit_is_refused(open_store: OpenStore) -> None:
    store = await open_store(max_record_bytes=600)
    await insert(store, "resp_1")
    assert await store.events.append("resp_1", events(0, 3))
    with pytest.raises(RecordTooLarge):
        await store.events.append("resp_1", events(4, 400))
    assert await _read_all(store, -1) == events(0, 3)


async def _read_all(store: Store, after: int) -> list[Event]:
    read: list[Event] = []
    while True:
        some = await store.events.read("ann", "resp_1", after, 1000)
        if not some:
            return read
        read += some
        after = some[-1][1]
