from __future__ import annotations

import asyncio
import itertools

import pytest

from adapter.store import responses
from adapter.store.errors import AncestorGone, HistoryCycle, HistoryTooLong, RecordTooLarge, UnknownResponse
from adapter.store.store import Store
from tests.unit.adapter.store.conftest import TTL, Clock, OpenStore
from tests.unit.adapter.store.records import event, events, failed, failed_event, finish, insert, message, response


async def test_record_is_there_from_the_start_and_changes_with_the_response(store: Store, clock: Clock) -> None:
    asked = message("msg_1", "Hi 😀 \x00")
    await insert(store, "resp_1", asked, background=True, previous_response_id="resp_0", worker="w7")
    begun = await store.responses.get("ann", "resp_1")
    assert begun is not None
    assert (begun.id, begun.created_at, begun.worker) == ("resp_1", clock.now, "w7")
    assert begun.body == response("resp_1")
    assert begun.input_items == [asked]
    assert (begun.background, begun.previous_response_id, begun.conversation_id) == (True, "resp_0", None)
    assert (begun.running, begun.cancel_requested, begun.last_event) == (True, False, -1)

    assert await store.responses.save("resp_1", response("resp_1", message("msg_2")), running=True)
    halfway = await store.responses.get("ann", "resp_1")
    assert halfway is not None and halfway.running and halfway.body["output"] == [message("msg_2")]

    assert await finish(store, "resp_1", message("msg_2"), message("msg_3"))
    ended = await store.responses.get("ann", "resp_1")
    assert ended is not None and not ended.running
    assert ended.body == response("resp_1", message("msg_2"), message("msg_3"), status="completed")
    assert ended.input_items == [asked]


async def test_what_has_ended_is_not_changed(store: Store) -> None:
    await insert(store, "resp_1")
    assert await finish(store, "resp_1", message("msg_1"))
    assert not await store.responses.save("resp_1", response("resp_1"), running=True)
    assert not await finish(store, "resp_1", events=events(0, 3))
    kept = await store.responses.get("ann", "resp_1")
    assert kept is not None and kept.body["output"] == [message("msg_1")] and kept.last_event == -1


async def test_unknown_ids(store: Store) -> None:
    for unknown in ("resp_0", "", "\x00", "\ud800", "x" * 10_000):
        assert await store.responses.get("ann", unknown) is None
        assert await store.responses.request_cancel("ann", unknown) is None
        assert not await store.responses.delete("ann", unknown)
        assert not await store.responses.save(unknown, response("resp_0"), running=False)
        assert await store.responses.find_item("ann", unknown) is None


async def test_delete_removes_record_items_and_events(store: Store) -> None:
    await insert(store, "resp_1", message("msg_1"))
    await finish(store, "resp_1", message("msg_2"), events=events(0, 5))
    assert await store.responses.delete("ann", "resp_1")
    assert await store.responses.get("ann", "resp_1") is None
    assert await store.responses.find_item("ann", "msg_1") is None
    assert await store.events.read("ann", "resp_1", -1, 10) == []
    assert not await store.responses.delete("ann", "resp_1")
    assert (await store.sweep()).bytes == 0


async def test_delete_of_a_running_response_cancels_it(store: Store, open_store: OpenStore) -> None:
    other = await open_store()
    await insert(store, "resp_1", message("msg_1"))
    await store.events.append("resp_1", events(0, 1))
    assert await other.responses.delete("ann", "resp_1")
    assert not await other.responses.delete("ann", "resp_1")
    assert await store.responses.get("ann", "resp_1") is None
    assert await store.responses.find_item("ann", "msg_1") is None
    assert await store.events.read("ann", "resp_1", -1, 10) == []
    with pytest.raises(UnknownResponse):
        await store.responses.history("ann", "resp_1", max_items=9, max_responses=9)

    assert await store.responses.renew(["resp_1"], 10.0) == {"resp_1"}
    assert not await finish(store, "resp_1", message("msg_2"))
    assert await store.responses.renew(["resp_1"], 10.0) == set()
    assert (await store.sweep()).bytes == 0


async def test_cancellation_reaches_the_process_that_makes_it(store: Store, open_store: OpenStore) -> None:
    other = await open_store()
    await insert(store, "resp_1")
    await insert(store, "resp_2")
    asked = await other.responses.request_cancel("ann", "resp_1")
    assert asked is not None and asked.running and asked.cancel_requested
    assert await store.responses.renew(["resp_1", "resp_2", "resp_unkept"], 10.0) == {"resp_1"}


async def test_cancellation_of_what_has_ended_changes_nothing(store: Store) -> None:
    await insert(store, "resp_1")
    await finish(store, "resp_1")
    ended = await store.responses.request_cancel("ann", "resp_1")
    assert ended is not None and not ended.running and not ended.cancel_requested


async def test_abandoned_response_fails_with_a_last_event(store: Store, clock: Clock) -> None:
    await insert(store, "resp_1", message("msg_1"), background=True)
    await store.responses.save("resp_1", response("resp_1", message("msg_2")), running=True, events=events(0, 4))
    await insert(store, "resp_2", background=True)
    await insert(store, "resp_3")
    await insert(store, "resp_4")
    clock.pass_by(9.0)
    await store.responses.renew(["resp_4"], 10.0)
    assert await store.responses.fail_abandoned(failed, failed_event) == []
    clock.pass_by(2.0)
    assert sorted(await store.responses.fail_abandoned(failed, failed_event)) == ["resp_1", "resp_2", "resp_3"]

    body = response("resp_1", message("msg_2"), status="failed")
    ended = await store.responses.get("ann", "resp_1")
    assert ended is not None and not ended.running
    assert ended.body == body and ended.last_event == 5
    assert await store.events.read("ann", "resp_1", 3, 9) == [event(4), event(5, "response.failed", response=body)]
    assert [number for _, number, _ in await store.events.read("ann", "resp_2", -1, 9)] == [0]
    assert await store.events.read("ann", "resp_3", -1, 9) == []  # nobody can take up its stream
    runs = await store.responses.get("ann", "resp_4")
    assert runs is not None and runs.running
    assert await store.responses.renew(["resp_1", "resp_4"], 10.0) == {"resp_1"}
    assert not await finish(store, "resp_1")  # whoever made it comes too late


async def test_abandoned_responses_fail_once(
    store: Store, open_store: OpenStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "_AT_A_TIME", 10)
    stores = [store, await open_store(), await open_store()]
    ids = [f"resp_{number:03}" for number in range(35)]
    for response_id in ids:
        await insert(store, response_id, background=True)
    clock.pass_by(11.0)
    found = await asyncio.gather(*(one.responses.fail_abandoned(failed, failed_event) for one in stores))
    assert sorted(itertools.chain(*found)) == ids
    for response_id in (ids[0], ids[-1]):
        assert len(await store.events.read("ann", response_id, -1, 9)) == 1


async def test_abandoned_response_frees_its_conversation(store: Store, clock: Clock) -> None:
    await store.conversations.create("ann", "conv_1", {})
    assert await store.conversations.lock("ann", "conv_1", "resp_1", 1000.0)
    await insert(store, "resp_1", conversation_id="conv_1")
    clock.pass_by(11.0)
    assert await store.responses.fail_abandoned(failed, failed_event) == ["resp_1"]
    assert await store.conversations.lock("ann", "conv_1", "resp_2", 10.0)


async def test_deleted_and_abandoned_response_goes(store: Store, clock: Clock) -> None:
    await insert(store, "resp_1", background=True)
    await store.responses.delete("ann", "resp_1")
    clock.pass_by(11.0)
    assert await store.responses.fail_abandoned(failed, failed_event) == []
    assert (await store.sweep()).bytes == 0


async def test_end_fills_the_conversation_in_the_same_transaction(store: Store) -> None:
    await store.conversations.create("ann", "conv_1", {}, [message("msg_0")])
    assert await store.conversations.lock("ann", "conv_1", "resp_1", 10.0)
    await insert(store, "resp_1", message("msg_1"), conversation_id="conv_1")
    added = [message("msg_0", "sent again"), message("msg_1"), message("msg_2", role="assistant")]
    assert await finish(store, "resp_1", added[-1], conversation_items=added)
    items = await store.conversations.all_items("ann", "conv_1", max_items=9)
    assert items == [message("msg_0"), *added[1:]]
    assert await store.conversations.lock("ann", "conv_1", "resp_2", 10.0)


async def test_lost_lock_leaves_the_conversation_alone(store: Store, clock: Clock) -> None:
    await store.conversations.create("ann", "conv_1", {})
    assert await store.conversations.lock("ann", "conv_1", "resp_1", 10.0)
    await insert(store, "resp_1", conversation_id="conv_1", lease=100.0)
    clock.pass_by(11.0)
    assert await store.conversations.lock("ann", "conv_1", "resp_2", 10.0)
    assert await finish(store, "resp_1", message("msg_1"), conversation_items=[message("msg_1")])
    assert await store.conversations.all_items("ann", "conv_1", max_items=9) == []
    held = await store.conversations.get("ann", "conv_1")
    assert held is not None and held.locked_by == "resp_2"


async def test_history_is_the_chain_oldest_first(store: Store) -> None:
    await _chain(store, 4)
    records = await store.responses.history("ann", "resp_2", max_items=6, max_responses=3)
    assert [record.id for record in records] == ["resp_0", "resp_1", "resp_2"]
    assert records[1].input_items == [message("in_1")] and records[1].body["output"] == [message("out_1")]
    await insert(store, "resp_9", previous_response_id="resp_2")
    records = await store.responses.history("ann", "resp_9", max_items=6, max_responses=4)
    assert [record.running for record in records] == [False, False, False, True]


async def test_history_tells_what_is_wrong_with_it(store: Store, clock: Clock) -> None:
    await _chain(store, 4)
    with pytest.raises(UnknownResponse) as unknown:
        await store.responses.history("ann", "resp_7", max_items=99, max_responses=9)
    assert unknown.value.response_id == "resp_7"
    for limits in ({"max_items": 7, "max_responses": 9}, {"max_items": 99, "max_responses": 3}):
        with pytest.raises(HistoryTooLong):
            await store.responses.history("ann", "resp_3", **limits)
    with pytest.raises(HistoryTooLong):
        await store.responses.history("ann", "resp_3", max_items=99, max_responses=9, max_bytes=200)
    await store.responses.delete("ann", "resp_1")
    with pytest.raises(AncestorGone) as gone:
        await store.responses.history("ann", "resp_3", max_items=99, max_responses=9)
    assert gone.value.response_id == "resp_1"

    for response_id, previous in (("resp_a", "resp_b"), ("resp_b", "resp_a")):
        await insert(store, response_id, previous_response_id=previous)
        await finish(store, response_id)
    with pytest.raises(HistoryCycle):
        await store.responses.history("ann", "resp_a", max_items=99, max_responses=9)

    await insert(store, "resp_c")
    await finish(store, "resp_c")
    clock.pass_by(TTL - 1)
    await insert(store, "resp_d", previous_response_id="resp_c")
    await finish(store, "resp_d")
    await store.responses.history("ann", "resp_d", max_items=9, max_responses=9)
    clock.pass_by(2)
    with pytest.raises(AncestorGone):
        await store.responses.history("ann", "resp_d", max_items=9, max_responses=9)
    with pytest.raises(UnknownResponse):
        await store.responses.history("ann", "resp_c", max_items=9, max_responses=9)


async def test_item_is_found_by_its_id(store: Store, clock: Clock) -> None:
    reference = {"type": "item_reference", "id": "msg_2"}
    await insert(store, "resp_1", message("msg_1"))
    await finish(store, "resp_1", message("msg_2", role="assistant"))
    await insert(store, "resp_2", reference, message("msg_3"))
    await store.responses.save("resp_2", response("resp_2", message("msg_4")), running=True)
    await store.conversations.create("ann", "conv_1", {}, [message("msg_5")])
    await store.conversations.create("ann", "conv_2", {}, [{"type": "item_reference", "id": "msg_6"}])
    for found in (
        message("msg_1"),
        message("msg_2", role="assistant"),
        message("msg_3"),
        message("msg_4"),
        message("msg_5"),
    ):
        assert await store.responses.find_item("ann", found["id"]) == found
    assert await store.responses.find_item("ann", "msg_6") is None

    clock.pass_by(1)
    await insert(store, "resp_3", message("msg_1", "changed"), {"type": "message", "role": "user"})
    assert await store.responses.find_item("ann", "msg_1") == message("msg_1", "changed")
    await store.conversations.delete_item("ann", "conv_1", "msg_5")
    assert await store.responses.find_item("ann", "msg_5") is None


async def test_record_over_the_limit_is_refused(open_store: OpenStore) -> None:
    store = await open_store(max_record_bytes=1000)
    with pytest.raises(RecordTooLarge) as refused:
        await insert(store, "resp_1", message("msg_1", "x" * 1000))
    assert refused.value.limit == 1000 < refused.value.size
    assert await store.responses.get("ann", "resp_1") is None
    await insert(store, "resp_2", message("msg_1", "x" * 500))
    with pytest.raises(RecordTooLarge):
        await store.responses.save(
            "resp_2", response("resp_2", message("msg_2", "x" * 400)), running=True, events=events(0, 1)
        )
    kept = await store.responses.get("ann", "resp_2")
    assert kept is not None and kept.body["output"] == [] and kept.last_event == -1


async def _chain(store: Store, length: int) -> None:
    for number in range(length):
        previous = f"resp_{number - 1}" if number else None
        await insert(store, f"resp_{number}", message(f"in_{number}"), previous_response_id=previous)
        await finish(store, f"resp_{number}", message(f"out_{number}"))
