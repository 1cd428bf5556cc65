from __future__ import annotations

from typing import Any

import pytest

from adapter.store.errors import RecordTooLarge, UnknownCursor
from adapter.store.store import Store
from tests.unit.adapter.store.conftest import TTL, Clock, OpenStore


def completion(number: int, model: str = "small", **fields: Any) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number}", "object": "chat.completion", "model": model, "choices": [], **fields}


async def test_completion_lives(store: Store, clock: Clock) -> None:
    metadata = {"run": "1", "nul\x00": "\x00"}
    await store.completions.insert("ann", completion(1), [{"role": "user", "content": "Hi"}], metadata)
    assert await store.completions.get("ann", "chatcmpl-1") == completion(1, metadata=metadata)
    updated = await store.completions.update_metadata("ann", "chatcmpl-1", {"run": "2"})
    assert updated == completion(1, metadata={"run": "2"})
    assert await store.completions.get("ann", "chatcmpl-1") == updated
    assert (await store.completions.list("ann", metadata={"run": "1"})).entries == []
    assert (await store.completions.list("ann", metadata={"run": "2"})).entries == [updated]
    assert await store.completions.delete("ann", "chatcmpl-1")
    assert not await store.completions.delete("ann", "chatcmpl-1")
    assert await store.completions.get("ann", "chatcmpl-1") is None
    assert await store.completions.messages("ann", "chatcmpl-1") is None
    assert await store.completions.update_metadata("ann", "chatcmpl-1", {}) is None

    await store.completions.insert("ann", completion(2), [], {})
    clock.pass_by(TTL)
    assert await store.completions.get("ann", "chatcmpl-2") is None
    assert (await store.completions.list("ann")).entries == []
    assert (await store.sweep()).expired == 1


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_go_by_time_then_id(store: Store, clock: Clock, order: Any) -> None:
    for number in (3, 1, 2):
        await store.completions.insert("ann", completion(number), [], {})
    clock.pass_by(0.25)
    for number in (0, 4):
        await store.completions.insert("ann", completion(number), [], {})
    expected = [f"chatcmpl-{number}" for number in (1, 2, 3, 0, 4)]
    if order == "desc":
        expected.reverse()
    seen: list[str] = []
    for has_more in (True, True, False):
        page = await store.completions.list("ann", after=seen[-1] if seen else None, limit=2, order=order)
        assert page.has_more == has_more
        seen += [entry["id"] for entry in page.entries]
    assert seen == expected
    with pytest.raises(UnknownCursor):
        await store.completions.list("ann", after="chatcmpl-9")


async def test_list_is_filtered(store: Store) -> None:
    for number, (model, metadata) in enumerate(
        [("small", {"a": "1", "b": "2"}), ("small", {"a": "1"}), ("large", {"a": "1", "b": "2"}), ("large", {})]
    ):
        await store.completions.insert("ann", completion(number, model), [], metadata)

    async def ids(**filters: Any) -> list[str]:
        return [entry["id"][-1] for entry in (await store.completions.list("ann", **filters)).entries]

    assert await ids() == ["0", "1", "2", "3"]
    assert await ids(model="large") == ["2", "3"]
    assert await ids(metadata={"a": "1"}) == ["0", "1", "2"]
    assert await ids(metadata={"a": "1", "b": "2"}) == ["0", "2"]
    assert await ids(metadata={"a": "1", "b": "2"}, model="small") == ["0"]
    assert await ids(metadata={"a": "2"}) == []


async def test_messages_have_ids_and_pages(store: Store) -> None:
    messages = [{"role": "user", "content": f"{number}"} for number in range(4)]
    await store.completions.insert("ann", completion(1), messages, {})
    shown = [{**message, "id": f"chatcmpl-1-{place}"} for place, message in enumerate(messages)]
    whole = await store.completions.messages("ann", "chatcmpl-1")
    assert whole is not None and (whole.entries, whole.has_more) == (shown, False)
    page = await store.completions.messages("ann", "chatcmpl-1", after="chatcmpl-1-0", limit=2)
    assert page is not None and (page.entries, page.has_more) == (shown[1:3], True)
    page = await store.completions.messages("ann", "chatcmpl-1", after="chatcmpl-1-2", limit=2, order="desc")
    assert page is not None and (page.entries, page.has_more) == ([shown[1], shown[0]], False)
    with pytest.raises(UnknownCursor):
        await store.completions.messages("ann", "chatcmpl-1", after="chatcmpl-1-4")


async def test_completion_over_the_limit_is_refused(open_store: OpenStore) -> None:
    store = await open_store(max_record_bytes=500)
    with pytest.raises(RecordTooLarge):
        await store.completions.insert("ann", completion(1), [{"role": "user", "content": "x" * 500}], {})
    assert await store.completions.get("ann", "chatcmpl-1") is None
