from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapter.store.errors import StoreFull, UnknownCursor, UnknownFile
from adapter.store.store import Store
from adapter.store.vector_claims import Chunk, Claim
from adapter.store.vector_store_files import FileToAdd
from adapter.store.vector_stores import A_DAY
from tests.unit.adapter.store.conftest import TTL, Clock, OpenStore

LEASE = 10.0


async def make(store: Store, id: str = "vs_1", owner: str = "ann", **values: Any) -> None:
    given: dict[str, Any] = {
        "name": "n",
        "description": None,
        "model": "m",
        "dimensions": 2,
        "metadata": {},
        "expires_days": None,
    }
    await store.vector_stores.create(owner, id, **{**given, **values})


async def put(store: Store, *names: str, owner: str = "ann", into: str = "vs_1", batch_id: str | None = None) -> None:
    for name in names:
        if await store.files.get(owner, name) is None:
            await store.files.insert(owner, name, f"{name}.txt", "assistants", b"x", expires_at=None)
    added = [FileToAdd(name, 800, 400, {"name": name}) for name in names]
    assert await store.vector_store_files.add(owner, into, added, batch_id=batch_id)


def chunk(position: int, start: int, text: str) -> Chunk:
    return Chunk(position, start, text, bytes(8))


async def complete(store: Store, text: str = "abc") -> list[Claim]:
    claims = await store.vector_claims.take(100, LEASE)
    for claim in claims:
        assert await store.vector_claims.add_chunks(claim, [chunk(0, 0, text)])
        assert await store.vector_claims.complete(claim)
    return claims


async def statuses(store: Store, id: str = "vs_1") -> dict[str, int]:
    found = await store.vector_stores.get("ann", id)
    assert found is not None
    return dict(found.counts)


async def test_vector_store_lives(store: Store, clock: Clock) -> None:
    await make(store, name="papers", description="all", metadata={"a": "b"}, expires_days=2)
    found = await store.vector_stores.get("ann", "vs_1")
    assert found is not None
    assert (found.name, found.description, found.metadata, found.model) == ("papers", "all", {"a": "b"}, "m")
    assert found.expires_at == clock.now + 2 * A_DAY and found.bytes == 0 and not found.counts
    clock.pass_by(5)
    changed = await store.vector_stores.update("ann", "vs_1", {"name": "new"})
    assert changed is not None and (changed.name, changed.metadata) == ("new", {"a": "b"})
    assert changed.used_at == clock.now and changed.expires_at == clock.now + 2 * A_DAY
    changed = await store.vector_stores.update("ann", "vs_1", {"expires_days": None, "metadata": {}})
    assert changed is not None and changed.expires_at is None and changed.metadata == {}
    assert await store.vector_stores.delete("ann", "vs_1")
    assert not await store.vector_stores.delete("ann", "vs_1")
    assert await store.vector_stores.get("ann", "vs_1") is None
    assert (await store.sweep()).bytes == 0


async def test_pages_after_and_before(store: Store, clock: Clock) -> None:
    for number in range(5):
        await make(store, f"vs_{number}")
        clock.pass_by(1)
    await make(store, "vs_other", owner="bob")

    async def ids(**page: Any) -> tuple[list[str], bool]:
        found = await store.vector_stores.list("ann", limit=2, **page)
        return [entry.id for entry in found.entries], found.has_more

    assert await ids() == (["vs_4", "vs_3"], True)
    assert await ids(after="vs_3") == (["vs_2", "vs_1"], True)
    assert await ids(after="vs_1") == (["vs_0"], False)
    assert await ids(before="vs_1") == (["vs_3", "vs_2"], True)
    assert await ids(before="vs_3") == (["vs_4"], False)
    assert await ids(order="asc", before="vs_2") == (["vs_0", "vs_1"], False)
    with pytest.raises(UnknownCursor):
        await ids(before="vs_other")


async def test_file_is_processed_once(store: Store, open_store: OpenStore) -> None:
    other = await open_store()
    await make(store)
    await put(store, "file-1", "file-2")
    taken = await asyncio.gather(store.vector_claims.take(1, LEASE), other.vector_claims.take(5, LEASE))
    claims = [claim for some in taken for claim in some]
    assert sorted(claim.file_id for claim in claims) == ["file-1", "file-2"] or len(claims) == 1
    claims += await other.vector_claims.take(5, LEASE)
    assert sorted(claim.file_id for claim in claims) == ["file-1", "file-2"]
    assert await statuses(store) == {"in_progress": 2}
    first = claims[0]
    assert (first.owner, first.model, first.dimensions, first.chunk_tokens, first.attempt) == ("ann", "m", 2, 800, 1)
    assert await store.vector_claims.add_chunks(first, [chunk(0, 0, "héllo"), chunk(1, 3, "lo wörld")])
    assert await store.vector_chunks.files("ann", "vs_1") == []  # nothing is found before it is complete
    assert await store.vector_claims.complete(first)
    assert await store.vector_claims.fail(claims[1], "invalid_file", "It is empty.")
    assert await statuses(store) == {"completed": 1, "failed": 1}
    (ready,) = await store.vector_chunks.files("ann", "vs_1")
    assert ready == (first.file_id, f"{first.file_id}.txt", {"name": first.file_id})
    assert await store.vector_chunks.content("ann", "vs_1", first.file_id) == "héllo wörld"
    failed = await store.vector_store_files.get("ann", "vs_1", claims[1].file_id)
    assert failed is not None and failed.error == ("invalid_file", "It is empty.") and failed.status == "failed"
    done = await store.vector_store_files.get("ann", "vs_1", first.file_id)
    assert done is not None and done.bytes == len("héllo".encode()) + len("lo wörld".encode()) + 16 + len(
        b'{"name":"file-1"}'
    )
    vector_store = await store.vector_stores.get("ann", "vs_1")
    assert vector_store is not None and vector_store.bytes == done.bytes + failed.bytes


async def test_what_a_dead_process_has_begun_is_begun_anew(store: Store, open_store: OpenStore, clock: Clock) -> None:
    await make(store)
    await put(store, "file-1")
    (dead,) = await store.vector_claims.take(5, LEASE)
    assert await store.vector_claims.add_chunks(dead, [chunk(0, 0, "half")])
    clock.pass_by(LEASE - 1)
    other = await open_store()
    assert await other.vector_claims.take(5, LEASE) == []
    assert await store.vector_claims.renew([dead], LEASE) == {dead.key}
    clock.pass_by(LEASE - 1)
    assert await other.vector_claims.take(5, LEASE) == []
    clock.pass_by(2)
    (again,) = await other.vector_claims.take(5, LEASE)
    assert again.attempt == 2 and again.key != dead.key
    # The one before is not dead after all: it cannot spoil anything.
    assert not await store.vector_claims.add_chunks(dead, [chunk(1, 4, "late")])
    assert not await store.vector_claims.complete(dead)
    assert not await store.vector_claims.fail(dead, "server_error", "late")
    assert await store.vector_claims.renew([dead], LEASE) == set()
    assert await other.vector_claims.add_chunks(again, [chunk(0, 0, "whole")])
    assert await other.vector_claims.complete(again)
    assert await store.vector_chunks.content("ann", "vs_1", "file-1") == "whole"


async def test_released_file_waits(store: Store, clock: Clock) -> None:
    await make(store)
    await put(store, "file-1")
    (claim,) = await store.vector_claims.take(5, LEASE)
    await store.vector_claims.release(claim, 30)
    clock.pass_by(29)
    assert await store.vector_claims.take(5, LEASE) == []
    clock.pass_by(2)
    (claim,) = await store.vector_claims.take(5, LEASE)
    assert claim.attempt == 2
    await store.vector_claims.release(claim, -1, counted=False)
    (claim,) = await store.vector_claims.take(5, LEASE)
    assert claim.attempt == 2


async def test_vectors_come_in_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapter.store.vector_chunks._AT_A_TIME", 3)
    await make(store)
    await put(store, "file-1", "file-2", "file-3")
    for claim in await store.vector_claims.take(5, LEASE):
        await store.vector_claims.add_chunks(claim, [chunk(n, n, f"{claim.file_id}/{n}") for n in range(5)])
        await store.vector_claims.complete(claim)
    pages = [page async for page in store.vector_chunks.vectors("ann", "vs_1", {"file-1", "file-3"})]
    assert all(len(page) <= 3 for page in pages)
    places = [place for page in pages for place, _ in page]
    assert places == [(file, n) for file in ("file-1", "file-3") for n in range(5)]
    texts = await store.vector_chunks.texts("ann", "vs_1", [("file-1", 2), ("file-3", 4), ("file-3", 9)])
    assert texts == {("file-1", 2): "file-1/2", ("file-3", 4): "file-3/4"}
    assert [page async for page in store.vector_chunks.vectors("ann", "vs_1", [])] == []
    assert [page async for page in store.vector_chunks.vectors("bob", "vs_1", ["file-1"])] == []


async def test_file_put_in_again_is_processed_anew(store: Store) -> None:
    await make(store)
    await put(store, "file-1")
    await complete(store)
    await put(store, "file-1")
    assert await statuses(store) == {"in_progress": 1}
    assert await store.vector_chunks.files("ann", "vs_1") == []
    await complete(store, "new")
    assert await store.vector_chunks.content("ann", "vs_1", "file-1") == "new"


async def test_unknown_file_puts_none_in(store: Store) -> None:
    await make(store)
    await store.files.insert("ann", "file-1", "f", "assistants", b"x", expires_at=None)
    await store.files.insert("bob", "file-2", "f", "assistants", b"x", expires_at=None)
    with pytest.raises(UnknownFile) as raised:
        await store.vector_store_files.add("ann", "vs_1", [FileToAdd("file-1", 1, 0), FileToAdd("file-2", 1, 0)])
    assert raised.value.file_id == "file-2"
    assert await statuses(store) == {}
    assert not await store.vector_store_files.add("bob", "vs_1", [FileToAdd("file-2", 1, 0)])


async def test_batch(store: Store) -> None:
    await make(store)
    await put(store, "file-0")
    await put(store, "file-1", "file-2", "file-3", batch_id="vsfb_1")
    claims = await store.vector_claims.take(2, LEASE)
    assert [claim.file_id for claim in claims] == ["file-0", "file-1"]
    await store.vector_claims.complete(claims[1])
    batch = await store.vector_store_files.get_batch("ann", "vs_1", "vsfb_1")
    assert batch is not None and batch.counts == {"completed": 1, "in_progress": 2} and not batch.cancelled
    page = await store.vector_store_files.list("ann", "vs_1", batch_id="vsfb_1", status="in_progress", order="asc")
    assert [file.file_id for file in page.entries] == ["file-2", "file-3"]
    cancelled = await store.vector_store_files.cancel_batch("ann", "vs_1", "vsfb_1")
    assert cancelled is not None and cancelled.cancelled and cancelled.counts == {"completed": 1, "cancelled": 2}
    assert await statuses(store) == {"in_progress": 1, "completed": 1, "cancelled": 2}
    assert await store.vector_claims.take(5, LEASE) == []
    for owner, id in (("bob", "vs_1"), ("ann", "vs_2")):
        assert await store.vector_store_files.get_batch(owner, id, "vsfb_1") is None
        assert await store.vector_store_files.cancel_batch(owner, id, "vsfb_1") is None


async def test_attributes(store: Store) -> None:
    await make(store)
    await put(store, "file-1")
    await complete(store)
    before = await store.vector_store_files.get("ann", "vs_1", "file-1")
    changed = await store.vector_store_files.update_attributes("ann", "vs_1", "file-1", {"year": 2020, "new": True})
    assert before is not None and changed is not None and changed.attributes == {"year": 2020, "new": True}
    assert changed.bytes == before.bytes - len(b'{"name":"file-1"}') + len(b'{"year":2020,"new":true}')
    assert await store.vector_store_files.update_attributes("bob", "vs_1", "file-1", {}) is None


async def test_deleted_file_leaves_its_vector_stores(store: Store) -> None:
    await make(store)
    await put(store, "file-1", "file-2")
    await complete(store)
    assert await store.files.delete("ann", "file-1")
    assert await statuses(store) == {"completed": 1}
    assert await store.vector_store_files.delete("ann", "vs_1", "file-2")
    assert not await store.vector_store_files.delete("ann", "vs_1", "file-2")
    assert await statuses(store) == {}
    assert await store.files.get("ann", "file-2") is not None


async def test_others_see_nothing(store: Store) -> None:
    await make(store)
    await put(store, "file-1")
    await complete(store)
    assert await store.vector_stores.get("bob", "vs_1") is None
    assert await store.vector_stores.use("bob", "vs_1") is None
    assert await store.vector_stores.update("bob", "vs_1", {"name": "x"}) is None
    assert not await store.vector_stores.delete("bob", "vs_1")
    assert await store.vector_store_files.get("bob", "vs_1", "file-1") is None
    assert (await store.vector_store_files.list("bob", "vs_1")).entries == []
    assert not await store.vector_store_files.delete("bob", "vs_1", "file-1")
    assert await store.vector_chunks.files("bob", "vs_1") == []
    assert await store.vector_chunks.texts("bob", "vs_1", [("file-1", 0)]) == {}
    assert await store.vector_chunks.content("bob", "vs_1", "file-1") == ""
    assert await statuses(store) == {"completed": 1}


async def test_use_keeps_a_vector_store_and_its_files(store: Store, clock: Clock) -> None:
    await make(store)
    await put(store, "file-1")
    await complete(store)
    await make(store, "vs_idle")
    for _ in range(4):
        clock.pass_by(TTL / 3)
        assert await store.vector_stores.use("ann", "vs_1") is not None
    assert await store.files.get("ann", "file-1") is not None
    assert await store.vector_stores.get("ann", "vs_idle") is None  # swept or not
    assert (await store.sweep()).expired == 1
    clock.pass_by(TTL)
    await store.sweep()
    assert (await store.sweep()).bytes == 0


async def test_expiry_that_was_asked_for(open_store: OpenStore, clock: Clock) -> None:
    store = await open_store(ttl=100.0 * A_DAY)
    await make(store, expires_days=1)
    clock.pass_by(A_DAY - 1)
    assert await store.vector_stores.use("ann", "vs_1") is not None
    clock.pass_by(A_DAY - 1)
    assert await store.vector_stores.get("ann", "vs_1") is not None
    clock.pass_by(2)
    assert await store.vector_stores.get("ann", "vs_1") is None
    assert (await store.sweep()).expired == 1


async def test_index_has_a_part_of_the_store(open_store: OpenStore) -> None:
    store = await open_store(max_bytes=4000)
    await make(store)
    await put(store, "file-1")
    (claim,) = await store.vector_claims.take(1, LEASE)
    assert await store.vector_claims.add_chunks(claim, [chunk(0, 0, "x" * 900)])
    with pytest.raises(StoreFull):
        await store.vector_claims.add_chunks(claim, [chunk(1, 900, "x" * 100)])


async def test_number_of_files_and_stores_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapter.store.vector_store_files.MOST_FILES", 2)
    monkeypatch.setattr("adapter.store.vector_stores.MOST_STORES", 2)
    await make(store)
    await put(store, "file-1", "file-2")
    with pytest.raises(StoreFull):
        await put(store, "file-3")
    await put(store, "file-2")  # one that is in it already is no further one
    await make(store, "vs_2")
    with pytest.raises(StoreFull):
        await make(store, "vs_3")
    await make(store, "vs_3", owner="bob")
