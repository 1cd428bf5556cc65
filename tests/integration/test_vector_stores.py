"""`/v1/vector_stores` through the real client, with the real embedding model."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.types.vector_stores import VectorStoreFile

from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.pdf import pdf

BREAD = "Sourdough bread needs flour, water, salt and a starter. Bake it in a hot oven for forty minutes."
STARS = "A neutron star is what remains of a massive star after a supernova. A spoon of it weighs a billion tons."
TAXES = "The yearly tax declaration is due at the end of July. Late declarations cost a penalty."


def upload(client: openai.OpenAI, name: str, content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    return client.files.create(file=(name, data), purpose="assistants").id


def put(client: openai.OpenAI, store: str, name: str, content: str | bytes, **options: Any) -> VectorStoreFile:
    return client.vector_stores.files.upload_and_poll(
        vector_store_id=store, file=(name, content.encode() if isinstance(content, str) else content), **options
    )


def wait(client: openai.OpenAI, store: str, file: str, timeout: float = 60.0) -> VectorStoreFile:
    deadline = time.monotonic() + timeout
    while (found := client.vector_stores.files.retrieve(file, vector_store_id=store)).status == "in_progress":
        assert time.monotonic() < deadline, "still in progress"
        time.sleep(0.1)
    return found


def test_search_finds_what_is_meant(openai_client: openai.OpenAI) -> None:
    client = openai_client
    store = client.vector_stores.create(
        name="all", metadata={"a": "b"}, expires_after={"anchor": "last_active_at", "days": 7}
    )
    assert (store.name, store.metadata, store.status, store.usage_bytes) == ("all", {"a": "b"}, "completed", 0)
    assert store.file_counts.total == 0 and store.expires_after is not None and store.expires_after.days == 7
    assert store.expires_at is not None and store.expires_at - store.created_at == 7 * 86400
    bread = put(client, store.id, "bread.md", BREAD)
    assert bread.status == "completed" and bread.last_error is None and bread.vector_store_id == store.id
    assert bread.chunking_strategy is not None and bread.chunking_strategy.type == "static"
    stars = put(client, store.id, "stars.pdf", pdf(STARS))
    assert stars.status == "completed"
    taxes = client.vector_stores.files.create_and_poll(
        upload(client, "taxes.txt", TAXES), vector_store_id=store.id, attributes={"year": 2026, "kind": "law"}
    )
    assert taxes.status == "completed" and taxes.attributes == {"year": 2026.0, "kind": "law"}

    found = client.vector_stores.search(store.id, query="How long do I have to bake a loaf?").data
    assert found[0].filename == "bread.md" and len(found) == 3
    assert found[0].file_id == bread.id and found[0].content[0].text == BREAD
    assert 1 >= found[0].score > found[1].score >= found[2].score >= 0
    assert client.vector_stores.search(store.id, query=STARS).data[0].filename == "stars.pdf"
    both = client.vector_stores.search(
        store.id, query=["heavy remnants in space", "deadline for taxes"], max_num_results=2
    )
    assert {result.filename for result in both.data} == {"stars.pdf", "taxes.txt"}
    exact = client.vector_stores.search(store.id, query=BREAD, ranking_options={"score_threshold": 0.99}).data
    assert [result.filename for result in exact] == ["bread.md"] and exact[0].score > 0.999
    filtered = client.vector_stores.search(
        store.id, query=BREAD, filters={"type": "gte", "key": "year", "value": 2026}, rewrite_query=False
    ).data
    assert [result.filename for result in filtered] == ["taxes.txt"] and filtered[0].attributes == {
        "year": 2026.0,
        "kind": "law",
    }

    store = client.vector_stores.retrieve(store.id)
    files = client.vector_stores.files.list(store.id, order="asc").data
    assert [file.id for file in files] == [bread.id, stars.id, taxes.id]
    assert store.usage_bytes == sum(file.usage_bytes for file in files) > 0
    assert (store.file_counts.completed, store.file_counts.total) == (3, 3)
    (text,) = client.vector_stores.files.content(taxes.id, vector_store_id=store.id).data
    assert text.text == TAXES and text.type == "text"
    changed = client.vector_stores.files.update(taxes.id, vector_store_id=store.id, attributes={"year": 2020})
    assert changed.attributes == {"year": 2020.0}
    newer: Any = {"type": "gte", "key": "year", "value": 2026}
    assert client.vector_stores.search(store.id, query=BREAD, filters=newer).data == []
    assert client.vector_stores.files.delete(bread.id, vector_store_id=store.id).deleted
    assert client.files.retrieve(bread.id).filename == "bread.md"
    client.files.delete(stars.id)
    assert [r.filename for r in client.vector_stores.search(store.id, query=BREAD).data] == ["taxes.txt"]
    assert client.vector_stores.delete(store.id).deleted
    with pytest.raises(openai.NotFoundError, match="not found"):
        client.vector_stores.retrieve(store.id)


def test_update_and_list(openai_client: openai.OpenAI) -> None:
    client = openai_client
    ids = [client.vector_stores.create(name=str(number)).id for number in range(3)]
    assert [store.id for store in client.vector_stores.list(limit=3).data] == ids[::-1]
    assert [store.id for store in client.vector_stores.list(limit=1, after=ids[2]).data] == [ids[1]]
    assert [store.id for store in client.vector_stores.list(limit=1, before=ids[0]).data] == [ids[1]]
    changed = client.vector_stores.update(ids[0], name="new", metadata={"k": "v"})
    assert (changed.name, changed.metadata) == ("new", {"k": "v"})
    changed = client.vector_stores.update(ids[0], expires_after={"anchor": "last_active_at", "days": 1})
    assert changed.name == "new" and changed.expires_at is not None
    assert client.vector_stores.update(ids[0], expires_after=None).expires_at is None


def test_long_text_is_found_by_every_part(openai_client: openai.OpenAI) -> None:
    """A chunk is longer than the embedding model's context: its end counts as well as its beginning."""
    client = openai_client
    filler = "The committee discussed the schedule of the meeting and the minutes of the last one. "
    text = filler * 40 + "The password of the greenhouse is xylophone. " + filler * 40
    store = client.vector_stores.create()
    file = put(
        client,
        store.id,
        "minutes.txt",
        text,
        chunking_strategy={"type": "static", "static": {"max_chunk_size_tokens": 700, "chunk_overlap_tokens": 100}},
    )
    assert file.status == "completed"
    found = client.vector_stores.search(store.id, query="greenhouse password", max_num_results=1).data
    assert "xylophone" in found[0].content[0].text
    everything = client.vector_stores.search(store.id, query="meeting", max_num_results=50).data
    assert 2 <= len(everything) <= 3
    assert client.vector_stores.files.content(file.id, vector_store_id=store.id).data[0].text == text


def test_files_that_cannot_be_used(openai_client: openai.OpenAI) -> None:
    client = openai_client
    store = client.vector_stores.create()
    for name, content, code in (
        ("empty.txt", b"", "invalid_file"),
        ("archive.zip", b"PK\x03\x04" + bytes(50), "unsupported_file"),
        ("broken.pdf", b"%PDF-1.4\nnothing", "invalid_file"),
        ("binary", b"\x00\xff\xfe\x80" * 9, "unsupported_file"),
    ):
        file = put(client, store.id, name, content)
        assert file.status == "failed" and file.last_error is not None, name
        assert file.last_error.code == code, (name, file.last_error)
        with pytest.raises(openai.BadRequestError, match="status is 'failed'"):
            client.vector_stores.files.content(file.id, vector_store_id=store.id)
    counts = client.vector_stores.retrieve(store.id).file_counts
    assert (counts.failed, counts.total) == (4, 4)
    assert len(client.vector_stores.files.list(store.id, filter="failed").data) == 4
    assert client.vector_stores.files.list(store.id, filter="completed").data == []
    assert client.vector_stores.search(store.id, query="x").data == []


def test_batches(openai_client: openai.OpenAI) -> None:
    client = openai_client
    ids = [upload(client, f"{name}.txt", text) for name, text in (("bread", BREAD), ("stars", STARS))]
    store = client.vector_stores.create(file_ids=ids[:1], chunking_strategy={"type": "auto"})
    assert store.file_counts.total == 1
    batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=ids, attributes={"batch": "one"})
    assert batch.status == "completed" and batch.object == "vector_store.files_batch"
    assert (batch.file_counts.completed, batch.file_counts.total) == (2, 2)
    listed = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id).data
    assert {file.id for file in listed} == set(ids) and all(file.attributes == {"batch": "one"} for file in listed)
    uploaded = client.vector_stores.file_batches.upload_and_poll(
        store.id, files=[("taxes.txt", TAXES.encode()), ("more.txt", b"More of it.")]
    )
    assert uploaded.status == "completed" and uploaded.file_counts.completed == 2
    each = client.vector_stores.file_batches.create_and_poll(
        store.id,
        files=[{"file_id": ids[0], "attributes": {"n": 1}}, {"file_id": ids[1], "chunking_strategy": {"type": "auto"}}],
    )
    assert each.file_counts.completed == 2
    assert client.vector_stores.files.retrieve(ids[0], vector_store_id=store.id).attributes == {"n": 1}
    assert client.vector_stores.file_batches.cancel(each.id, vector_store_id=store.id).status == "completed"
    assert client.vector_stores.retrieve(store.id).file_counts.total == 4
    with pytest.raises(openai.NotFoundError, match="batch"):
        client.vector_stores.file_batches.retrieve("vsfb_none", vector_store_id=store.id)


def test_cancelled_batch(openai_client: openai.OpenAI) -> None:
    client = openai_client
    long = "\n".join(f"Paragraph {number}: {STARS}" for number in range(500))
    ids = [upload(client, f"{number}.txt", long) for number in range(6)]
    store = client.vector_stores.create()
    batch = client.vector_stores.file_batches.create(store.id, file_ids=ids)
    assert batch.status == "in_progress"
    cancelled = client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)
    assert cancelled.status == "cancelled" and cancelled.file_counts.cancelled > 0
    assert cancelled.file_counts.in_progress == 0 and cancelled.file_counts.total == 6


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"colour": 1}, "colour"),
        ("", {"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after.anchor"),
        ("", {"expires_after": {"anchor": "last_active_at", "days": 0}}, "expires_after.days"),
        ("", {"metadata": {"a": 1}}, "metadata.a"),
        ("", {"file_ids": ["file-none"]}, "file_ids"),
        ("/VS/files", {}, "file_id"),
        ("/VS/files", {"file_id": "file-none"}, "file_id"),
        ("/VS/files", {"file_id": "file-none", "attributes": {"a": []}}, "attributes.a"),
        (
            "/VS/files",
            {
                "file_id": "f",
                "chunking_strategy": {
                    "type": "static",
                    "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 101},
                },
            },
            "chunking_strategy.static.chunk_overlap_tokens",
        ),
        ("/VS/file_batches", {}, "file_ids"),
        ("/VS/file_batches", {"file_ids": ["a"], "files": [{"file_id": "a"}]}, "file_ids"),
        ("/VS/file_batches", {"files": [{"file_id": "a"}], "attributes": {}}, "attributes"),
        ("/VS/search", {}, "query"),
        ("/VS/search", {"query": ""}, "query"),
        ("/VS/search", {"query": "a", "max_num_results": 51}, "max_num_results"),
        ("/VS/search", {"query": "a", "rewrite_query": True}, "rewrite_query"),
        ("/VS/search", {"query": "a", "ranking_options": {"score_threshold": 2}}, "ranking_options.score_threshold"),
        ("/VS/search", {"query": "a", "filters": {"type": "eq", "key": "k"}}, "filters.value"),
        ("/VS/search", {"query": ["a", "word " * 600]}, "query[1]"),
    ],
)
def test_bad_requests(openai_client: openai.OpenAI, path: str, body: dict[str, Any], param: str) -> None:
    store = openai_client.vector_stores.create().id
    with pytest.raises(openai.APIStatusError) as raised:
        openai_client.post("/vector_stores" + path.replace("VS", store), body=body, cast_to=object)
    assert raised.value.status_code in (400, 404)
    assert raised.value.param == param, raised.value.body


def test_files_of_a_killed_adapter_are_taken_up_again(
    start_adapter: Callable[..., AdapterProcess], tmp_path: Any
) -> None:
    shared = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    first = start_adapter(store_url=shared, embedding_model=models.EMBEDDING)
    long = "\n".join(f"Paragraph {number}: {STARS} {TAXES}" for number in range(400))
    with openai.OpenAI(base_url=first.base_url, api_key="any", max_retries=0, timeout=60) as client:
        store = client.vector_stores.create().id
        file = upload(client, "long.txt", long)
        assert client.vector_stores.files.create(store, file_id=file).status == "in_progress"
        time.sleep(1.0)
        assert client.vector_stores.files.retrieve(file, vector_store_id=store).status == "in_progress"
    os.killpg(first.pid, signal.SIGKILL)
    second = start_adapter(store_url=shared)
    with openai.OpenAI(base_url=second.base_url, api_key="any", max_retries=0, timeout=60) as client:
        assert client.vector_stores.files.retrieve(file, vector_store_id=store).status == "in_progress"
        assert wait(client, store, file, timeout=150).status == "completed"
        assert client.vector_stores.files.content(file, vector_store_id=store).data[0].text == long


def test_no_embedding_model_of_that_name(start_adapter: Callable[..., AdapterProcess]) -> None:
    adapter = start_adapter(embedding_model="nothing")
    with (
        openai.OpenAI(base_url=adapter.base_url, api_key="any", max_retries=0) as client,
        pytest.raises(openai.InternalServerError, match="nothing"),
    ):
        client.vector_stores.create()
