"""What belongs to one owner is not there for another, whatever is asked."""

from __future__ import annotations

import pytest

from adapter.store.errors import AncestorGone, UnknownCursor, UnknownResponse
from adapter.store.store import Store
from tests.unit.adapter.store.records import events, finish, insert, message


@pytest.mark.parametrize("stranger", ["bob", ""])
async def test_responses(store: Store, stranger: str) -> None:
    await insert(store, "resp_1", message("msg_1"))
    assert await store.responses.request_cancel(stranger, "resp_1") is None
    assert not await store.responses.delete(stranger, "resp_1")
    assert await store.responses.renew(["resp_1"], 10.0) == set()
    await finish(store, "resp_1", message("msg_2"), events=events(0, 2))
    assert await store.responses.get(stranger, "resp_1") is None
    assert not await store.responses.delete(stranger, "resp_1")
    assert await store.events.read(stranger, "resp_1", -1, 10) == []
    for item_id in ("msg_1", "msg_2"):
        assert await store.responses.find_item(stranger, item_id) is None
    with pytest.raises(UnknownResponse):
        await store.responses.history(stranger, "resp_1", max_items=9, max_responses=9)
    await insert(store, "resp_2", owner=stranger, previous_response_id="resp_1")
    with pytest.raises(AncestorGone):
        await store.responses.history(stranger, "resp_2", max_items=9, max_responses=9)
    assert await store.responses.get("ann", "resp_1") is not None


@pytest.mark.parametrize("stranger", ["bob", ""])
async def test_conversations(store: Store, stranger: str) -> None:
    of = store.conversations
    await of.create("ann", "conv_1", {"a": "b"}, [message("msg_1")])
    assert await of.get(stranger, "conv_1") is None
    assert await of.update(stranger, "conv_1", {}) is None
    assert not await of.delete(stranger, "conv_1")
    assert not await of.add_items(stranger, "conv_1", [message("msg_2")])
    assert await of.get_item(stranger, "conv_1", "msg_1") is None
    assert await of.delete_item(stranger, "conv_1", "msg_1") is None
    assert await of.list_items(stranger, "conv_1") is None
    assert await of.all_items(stranger, "conv_1", max_items=9) is None
    assert await store.responses.find_item(stranger, "msg_1") is None
    assert not await of.lock(stranger, "conv_1", "resp_1", 10.0)
    assert await of.lock("ann", "conv_1", "resp_2", 10.0)
    await of.unlock(stranger, "conv_1", "resp_2")
    assert not await of.append_response(stranger, "conv_1", "resp_2", [message("msg_3")])
    held = await of.get("ann", "conv_1")
    assert held is not None and (held.metadata, held.locked_by) == ({"a": "b"}, "resp_2")
    assert await of.all_items("ann", "conv_1", max_items=9) == [message("msg_1")]
    await insert(store, "resp_2", owner=stranger, conversation_id="conv_1")
    await finish(store, "resp_2", conversation_items=[message("msg_4")])
    assert await of.all_items("ann", "conv_1", max_items=9) == [message("msg_1")]


@pytest.mark.parametrize("stranger", ["bob", ""])
async def test_completions(store: Store, stranger: str) -> None:
    of = store.completions
    await of.insert("ann", {"id": "chatcmpl-1", "model": "m"}, [{"role": "user"}], {"a": "b"})
    assert await of.get(stranger, "chatcmpl-1") is None
    assert (await of.list(stranger)).entries == []
    assert (await of.list(stranger, metadata={"a": "b"})).entries == []
    with pytest.raises(UnknownCursor):
        await of.list(stranger, after="chatcmpl-1")
    assert await of.update_metadata(stranger, "chatcmpl-1", {}) is None
    assert await of.messages(stranger, "chatcmpl-1") is None
    assert not await of.delete(stranger, "chatcmpl-1")
    assert (await of.list("ann", metadata={"a": "b"})).entries != []


@pytest.mark.parametrize("stranger", ["bob", ""])
async def test_files(store: Store, stranger: str) -> None:
    of = store.files
    await of.insert("ann", "file-1", "name", "batch", b"content", expires_at=None)
    assert await of.get(stranger, "file-1") is None
    assert await of.content(stranger, "file-1") is None
    assert (await of.list(stranger)).entries == []
    with pytest.raises(UnknownCursor):
        await of.list(stranger, after="file-1")
    assert not await of.delete(stranger, "file-1")
    assert await of.content("ann", "file-1") == b"content"
