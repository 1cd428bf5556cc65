"""What becomes of a file, over a real store and an embedding model that fails as the test wants."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adapter.errors import unavailable
from adapter.media.documents import DocumentReader
from adapter.retrieval import ingestion
from adapter.retrieval.ingestion import Ingestion
from adapter.store.store import Store
from adapter.store.vector_store_files import FileToAdd, VectorStoreFile


class Words:
    """A tokenizer: a token for each word."""

    def encode_starts(self, text: str) -> tuple[list[int], list[int]]:
        starts = [word.start() for word in re.finditer(r"\S+", text)]
        return list(range(len(starts))), starts


class KnownEmbedder:
    """failures: raised one after another, each instead of vectors. held: calls wait for it."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.held: asyncio.Event | None = None
        self.running = 0
        self.most_running = 0

    async def model(self, model_id: str, dimensions: int) -> Any:
        return SimpleNamespace(tokenizer=Words())

    async def embed_chunks(self, model: Any, text: Any, chunks: Any) -> list[Any]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.failures:
                raise self.failures.pop(0)
            if self.held is not None:
                await self.held.wait()
            await asyncio.sleep(0)
        finally:
            self.running -= 1
        return [np.ones((1, 2), "<f4") for _ in chunks]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}", ttl=1000.0, max_bytes=1 << 22)
    await opened.vector_stores.create(
        "ann", "vs_1", name="", description=None, model="m", dimensions=2, metadata={}, expires_days=None
    )
    yield opened
    await opened.close()


@pytest.fixture
def embedder() -> KnownEmbedder:
    return KnownEmbedder()


@pytest.fixture
async def running(store: Store, embedder: KnownEmbedder, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ingestion]:
    for name in ("_AGAIN_AFTER", "_LONGEST_WAIT", "_LOOK_EVERY", "_RENEW_EVERY"):
        monkeypatch.setattr(ingestion, name, 0.02)
    started = Ingestion(store, DocumentReader(), embedder)  # type: ignore[arg-type]
    started.start()
    yield started
    await started.stop()


async def put(store: Store, name: str, content: bytes) -> None:
    await store.files.insert("ann", name, name, "assistants", content, expires_at=None)
    assert await store.vector_store_files.add("ann", "vs_1", [FileToAdd(name, 100, 50)])


async def ended(store: Store, name: str) -> VectorStoreFile:
    for _ in range(1000):
        found = await store.vector_store_files.get("ann", "vs_1", name)
        assert found is not None
        if found.status != "in_progress":
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("still in progress")


async def test_file_is_completed(store: Store, running: Ingestion) -> None:
    text = " ".join(f"word{number}" for number in range(5000))
    await put(store, "file-1", text.encode())
    running.wake()
    assert (await ended(store, "file-1")).status == "completed"
    assert await store.vector_chunks.content("ann", "vs_1", "file-1") == text
    pages = [page async for page in store.vector_chunks.vectors("ann", "vs_1", ["file-1"])]
    assert sum(map(len, pages)) == 99  # 100 tokens, and 50 more with each


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", "invalid_file", "The file is empty."),
        (b" \n ", "invalid_file", "holds no text"),
        (b"PK\x03\x04\x00", "unsupported_file", "ZIP"),
        (b"%PDF-1.7 nothing", "invalid_file", "damaged"),
    ],
)
async def test_file_that_cannot_be_used(store: Store, running: Ingestion, content: bytes, code: str, said: str) -> None:
    await put(store, "file-1", content)
    found = await ended(store, "file-1")
    assert found.status == "failed" and found.error is not None
    assert found.error[0] == code and said in found.error[1]


async def test_file_waits_for_the_model(store: Store, running: Ingestion, embedder: KnownEmbedder) -> None:
    embedder.failures = [unavailable("Triton is away.")] * 3
    await put(store, "file-1", b"some words")
    assert (await ended(store, "file-1")).status == "completed"
    assert not embedder.failures


async def test_file_does_not_wait_for_ever(store: Store, running: Ingestion, embedder: KnownEmbedder) -> None:
    embedder.failures = [unavailable("Triton is away.")] * 100
    await put(store, "file-1", b"some words")
    found = await ended(store, "file-1")
    assert found.error == ("server_error", "The file could not be processed in 8 attempts.")
    assert len(embedder.failures) == 92


async def test_failure_of_our_own(store: Store, running: Ingestion, embedder: KnownEmbedder) -> None:
    embedder.failures = [ZeroDivisionError()]
    await put(store, "file-1", b"some words")
    assert (await ended(store, "file-1")).error == ("server_error", "This server failed to process the file.")


async def test_index_is_full(store: Store, running: Ingestion) -> None:
    await put(store, "file-1", b"a b " * 400_000)
    found = await ended(store, "file-1")
    assert found.error is not None and found.error[0] == "server_error" and "no room" in found.error[1]
    assert found.bytes == len(b"{}")  # nothing of it is left


async def test_two_at_a_time(store: Store, running: Ingestion, embedder: KnownEmbedder) -> None:
    embedder.held = asyncio.Event()
    for number in range(5):
        await put(store, f"file-{number}", b"some words")
    running.wake()
    await asyncio.sleep(0.3)
    assert embedder.running == 2
    embedder.held.set()
    for number in range(5):
        assert (await ended(store, f"file-{number}")).status == "completed"
    assert embedder.most_running == 2


async def test_what_is_taken_out_is_left_off(store: Store, running: Ingestion, embedder: KnownEmbedder) -> None:
    embedder.held = asyncio.Event()
    await put(store, "file-1", b"some words")
    running.wake()
    await until(lambda: embedder.running == 1)
    await store.vector_store_files.delete("ann", "vs_1", "file-1")
    await until(lambda: embedder.running == 0)  # it was cancelled: nobody has let it go on
    assert await store.vector_chunks.files("ann", "vs_1") == []


async def test_stop_leaves_the_file_to_the_next(store: Store, running: Ingestion, embedder: KnownEmbedder) -> None:
    embedder.held = asyncio.Event()
    await put(store, "file-1", b"some words")
    running.wake()
    await until(lambda: embedder.running == 1)
    await running.stop()
    (claim,) = await store.vector_claims.take(1, 10.0)  # at once, without the lease having ended
    assert claim.attempt == 1


async def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come about")
