from __future__ import annotations

import pytest

from adapter.store.errors import RecordTooLarge, StoreFull, UnknownCursor
from adapter.store.files import File
from adapter.store.store import Store
from tests.unit.adapter.store.conftest import TTL, Clock, OpenStore

CONTENT = bytes(range(256)) * 40


async def test_file_lives(store: Store, clock: Clock) -> None:
    kept = await store.files.insert("ann", "file-1", "näme\x00.txt", "user_data", CONTENT, expires_at=None)
    assert kept == File("file-1", clock.now, None, "näme\x00.txt", "user_data", len(CONTENT))
    shown = await store.files.get("ann", "file-1")
    assert shown is not None and shown.filename == "näme\ufffd.txt"  # no database takes a NUL
    assert (shown.purpose, shown.bytes, shown.created_at, shown.expires_at) == (
        "user_data",
        len(CONTENT),
        clock.now,
        None,
    )
    assert await store.files.content("ann", "file-1") == CONTENT
    assert await store.files.delete("ann", "file-1")
    assert not await store.files.delete("ann", "file-1")
    assert await store.files.get("ann", "file-1") is None
    assert await store.files.content("ann", "file-1") is None
    assert (await store.sweep()).bytes == 0


async def test_empty_file(store: Store) -> None:
    await store.files.insert("ann", "file-1", "empty", "user_data", b"", expires_at=None)
    assert await store.files.content("ann", "file-1") == b""


async def test_list_by_purpose_in_pages(store: Store, clock: Clock) -> None:
    for number in range(5):
        await store.files.insert(
            "ann", f"file-{number}", "f", "batch" if number == 2 else "assistants", b"x", expires_at=None
        )
        clock.pass_by(1)
    page = await store.files.list("ann", purpose="assistants", limit=3)
    assert ([file.id for file in page.entries], page.has_more) == (["file-4", "file-3", "file-1"], True)
    page = await store.files.list("ann", purpose="assistants", limit=3, after="file-1")
    assert ([file.id for file in page.entries], page.has_more) == (["file-0"], False)
    page = await store.files.list("ann", order="asc")
    assert [file.id for file in page.entries] == [f"file-{number}" for number in range(5)]
    with pytest.raises(UnknownCursor):
        await store.files.list("ann", purpose="assistants", after="file-2")


async def test_file_expires_when_its_client_said(store: Store, clock: Clock) -> None:
    await store.files.insert("ann", "file-1", "f", "batch", b"x", expires_at=clock.now + 50)
    clock.pass_by(49)
    assert await store.files.get("ann", "file-1") is not None
    clock.pass_by(1)
    assert await store.files.get("ann", "file-1") is None
    assert await store.files.content("ann", "file-1") is None
    assert (await store.files.list("ann")).entries == []
    assert not await store.files.delete("ann", "file-1")
    swept = await store.sweep()
    assert (swept.expired, swept.bytes) == (1, 0)


async def test_use_keeps_a_file(store: Store, clock: Clock) -> None:
    await store.files.insert("ann", "file-1", "f", "batch", b"x", expires_at=None)
    for use in (store.files.get, store.files.content, store.files.get):
        clock.pass_by(TTL - 1)
        assert await use("ann", "file-1") is not None
        assert (await store.sweep()).expired == 0
    clock.pass_by(TTL)
    assert await store.files.get("ann", "file-1") is None
    assert (await store.sweep()).expired == 1


async def test_files_are_bounded(open_store: OpenStore) -> None:
    store = await open_store(max_bytes=10_000, max_record_bytes=4000)
    with pytest.raises(RecordTooLarge):
        await store.files.insert("ann", "file-1", "f", "batch", b"x" * 4001, expires_at=None)
    await store.files.insert("ann", "file-1", "f", "batch", b"x" * 4000, expires_at=None)
    with pytest.raises(StoreFull):
        await store.files.insert("bob", "file-2", "f", "batch", b"x" * 1001, expires_at=None)
    assert await store.files.get("bob", "file-2") is None
    await store.files.insert("bob", "file-2", "f", "batch", b"x" * 1000, expires_at=None)
    assert await store.files.get("ann", "file-1") is not None
