from __future__ import annotations

import asyncio

import pytest

from adapter.store.conversations import Conversation
from adapter.store.errors import ConversationTooLong, ItemExists, RecordTooLarge, UnknownCursor
from adapter.store.store import Store
from tests.unit.adapter.store.conftest import TTL, Clock, OpenStore
from tests.unit.adapter.store.records import message


async def test_conversation_lives(store: Store, clock: Clock) -> None:
    created = await store.conversations.create("ann", "conv_1", {"topic": "tea\x00"}, [message("msg_1")])
    assert created == Conversation("conv_1", clock.now, {"topic": "tea\x00"}, None)
    assert await store.conversations.get("ann", "conv_1") == created
    clock.pass_by(5)
    updated = await store.conversations.update("ann", "conv_1", {"topic": "coffee", "mood": "good"})
    assert updated == Conversation("conv_1", created.created_at, {"topic": "coffee", "mood": "good"}, None)
    assert await store.conversations.get("ann", "conv_1") == updated
    assert await store.conversations.delete("ann", "conv_1")
    assert not await store.conversations.delete("ann", "conv_1")
    assert await store.conversations.get("ann", "conv_1") is None
    assert await store.conversations.update("ann", "conv_1", {}) is None
    assert await store.conversations.list_items("ann", "conv_1") is None
    assert await store.conversations.all_items("ann", "conv_1", max_items=9) is None
    assert not await store.conversations.add_items("ann", "conv_1", [message("msg_2")])
    assert (await store.sweep()).bytes == 0


async def test_items_come_and_go(store: Store) -> None:
    await store.conversations.create("ann", "conv_1", {}, [message("msg_0")])
    assert await store.conversations.add_items("ann", "conv_1", [message("msg_1"), message("msg_2")])
    assert await store.conversations.get_item("ann", "conv_1", "msg_1") == message("msg_1")
    assert await store.conversations.delete_item("ann", "conv_1", "msg_1") is not None
    assert await store.conversations.delete_item("ann", "conv_1", "msg_1") is None
    assert await store.conversations.get_item("ann", "conv_1", "msg_1") is None
    assert await store.conversations.add_items("ann", "conv_1", [message("msg_1", "again")])
    items = await store.conversations.all_items("ann", "conv_1", max_items=9)
    assert items == [message("msg_0"), message("msg_2"), message("msg_1", "again")]


async def test_items_with_an_id_that_is_taken_are_refused_all(store: Store) -> None:
    await store.conversations.create("ann", "conv_1", {}, [message("msg_0")])
    for items in ([message("msg_1"), message("msg_0")], [message("msg_1"), message("msg_1")]):
        with pytest.raises(ItemExists) as refused:
            await store.conversations.add_items("ann", "conv_1", items)
        assert refused.value.item_id == items[-1]["id"]
    with pytest.raises(ValueError, match="255"):
        await store.conversations.add_items("ann", "conv_1", [message("msg_1"), message("m" * 256)])
    assert await store.conversations.all_items("ann", "conv_1", max_items=9) == [message("msg_0")]
    await store.conversations.create("ann", "conv_2", {}, [message("msg_0")])  # ids are a conversation's own


async def test_pages_stay_where_they_are(store: Store) -> None:
    items = [message(f"msg_{number}") for number in range(7)]
    await store.conversations.create("ann", "conv_1", {}, items)
    seen, after = [], None
    while True:
        page = await store.conversations.list_items("ann", "conv_1", after=after, limit=3, order="asc")
        assert page is not None
        seen += page.entries
        if not page.has_more:
            break
        after = page.entries[-1]["id"]
        if len(seen) == 3:
            await store.conversations.delete_item("ann", "conv_1", "msg_0")
            await store.conversations.add_items("ann", "conv_1", [message("msg_7")])
    assert seen == [*items, message("msg_7")]
    newest = await store.conversations.list_items("ann", "conv_1", after="msg_4", limit=2)
    assert newest is not None and (newest.entries, newest.has_more) == ([items[3], items[2]], True)
    last = await store.conversations.list_items("ann", "conv_1", after="msg_3", limit=2)
    assert last is not None and (last.entries, last.has_more) == ([items[2], items[1]], False)
    with pytest.raises(UnknownCursor):
        await store.conversations.list_items("ann", "conv_1", after="msg_0")


async def test_all_items_are_bounded(store: Store) -> None:
    await store.conversations.create("ann", "conv_1", {}, [message(f"msg_{number}") for number in range(3)])
    assert len(await store.conversations.all_items("ann", "conv_1", max_items=3) or []) == 3
    with pytest.raises(ConversationTooLong):
        await store.conversations.all_items("ann", "conv_1", max_items=2)
    with pytest.raises(ConversationTooLong):
        await store.conversations.all_items("ann", "conv_1", max_items=3, max_bytes=100)


async def test_conversation_over_the_limit_is_refused(open_store: OpenStore) -> None:
    store = await open_store(max_record_bytes=1000)
    with pytest.raises(RecordTooLarge):
        await store.conversations.create("ann", "conv_1", {}, [message("msg_1", "x" * 1000)])
    assert await store.conversations.get("ann", "conv_1") is None
    await store.conversations.create("ann", "conv_1", {}, [message("msg_1", "x" * 500)])
    with pytest.raises(RecordTooLarge):
        await store.conversations.add_items("ann", "conv_1", [message("msg_2", "x" * 500)])
    assert await store.conversations.all_items("ann", "conv_1", max_items=9) == [message("msg_1", "x" * 500)]
    await store.conversations.delete_item("ann", "conv_1", "msg_1")
    assert await store.conversations.add_items("ann", "conv_1", [message("msg_2", "x" * 500)])


async def test_one_response_at_a_time(store: Store, open_store: OpenStore, clock: Clock) -> None:
    other = await open_store()
    await store.conversations.create("ann", "conv_1", {})
    tries = [one.conversations.lock("ann", "conv_1", f"resp_{n}", 10.0) for n, one in enumerate([store, other] * 4)]
    assert (await asyncio.gather(*tries)).count(True) == 1
    held = await other.conversations.get("ann", "conv_1")
    assert held is not None and held.locked_by is not None
    await other.conversations.unlock("ann", "conv_1", "resp_stranger")
    assert not await other.conversations.lock("ann", "conv_1", "resp_x", 10.0)
    assert await store.conversations.lock("ann", "conv_1", held.locked_by, 10.0)
    await store.conversations.unlock("ann", "conv_1", held.locked_by)
    assert await other.conversations.lock("ann", "conv_1", "resp_x", 10.0)


async def test_lock_lasts_as_long_as_it_is_renewed(store: Store, open_store: OpenStore, clock: Clock) -> None:
    other = await open_store()
    await store.conversations.create("ann", "conv_1", {})
    assert await store.conversations.lock("ann", "conv_1", "resp_1", 10.0)  # of a response that is not kept
    clock.pass_by(9)
    assert await store.responses.renew(["resp_1"], 10.0) == set()
    clock.pass_by(9)
    assert not await other.conversations.lock("ann", "conv_1", "resp_2", 10.0)
    clock.pass_by(2)
    free = await other.conversations.get("ann", "conv_1")
    assert free is not None and free.locked_by is None
    assert await other.conversations.lock("ann", "conv_1", "resp_2", 10.0)
    assert not await store.conversations.append_response("ann", "conv_1", "resp_1", [message("msg_1")])
    assert await other.conversations.append_response("ann", "conv_1", "resp_2", [message("msg_2")])
    assert await store.conversations.all_items("ann", "conv_1", max_items=9) == [message("msg_2")]
    assert await store.conversations.lock("ann", "conv_1", "resp_3", 10.0)


async def test_use_keeps_a_conversation(store: Store, clock: Clock) -> None:
    await store.conversations.create("ann", "conv_1", {})
    for use in (
        lambda: store.conversations.get("ann", "conv_1"),
        lambda: store.conversations.list_items("ann", "conv_1"),
        lambda: store.conversations.get_item("ann", "conv_1", "msg_0"),
        lambda: store.conversations.all_items("ann", "conv_1", max_items=9),
        lambda: store.conversations.add_items("ann", "conv_1", [message("msg_1")]),
        lambda: store.conversations.update("ann", "conv_1", {"a": "b"}),
    ):
        clock.pass_by(TTL - 1)
        await use()
        assert (await store.sweep()).expired == 0
    clock.pass_by(TTL)
    assert await store.conversations.get("ann", "conv_1") is None
    assert not await store.conversations.lock("ann", "conv_1", "resp_1", 10.0)
    assert (await store.sweep()).expired == 1


async def test_items_added_at_once_are_all_there(store: Store, open_store: OpenStore) -> None:
    other = await open_store()
    await store.conversations.create("ann", "conv_1", {})
    ids = [f"msg_{number}" for number in range(12)]
    adds = [
        one.conversations.add_items("ann", "conv_1", [message(item_id)])
        for one, item_id in zip([store, other] * 6, ids, strict=True)
    ]
    assert all(await asyncio.gather(*adds))
    items = await store.conversations.all_items("ann", "conv_1", max_items=99)
    assert sorted(item["id"] for item in items or []) == sorted(ids)
