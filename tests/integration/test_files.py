"""`/v1/files` through the real client."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from tests.support.adapter_process import AdapterProcess

CONTENT = "Grüße\n".encode() * 100


def upload(client: openai.OpenAI, name: str = "notes.txt", content: bytes = CONTENT, purpose: str = "user_data") -> str:
    return client.files.create(file=(name, content), purpose=purpose).id  # type: ignore[arg-type]


def test_file_lives(openai_client: openai.OpenAI) -> None:
    made = openai_client.files.create(file=("nötes 1.txt", CONTENT), purpose="assistants")
    assert made.id.startswith("file-") and made.object == "file" and made.status == "processed"
    assert (made.bytes, made.filename, made.purpose, made.expires_at) == (
        len(CONTENT),
        "nötes 1.txt",
        "assistants",
        None,
    )
    assert abs(made.created_at - time.time()) < 60
    assert openai_client.files.retrieve(made.id) == made
    assert openai_client.files.wait_for_processing(made.id) == made
    content = openai_client.files.content(made.id)
    assert content.read() == CONTENT
    assert content.response.headers["content-disposition"].startswith("attachment")
    assert content.response.headers["x-content-type-options"] == "nosniff"
    gone = openai_client.files.delete(made.id)
    assert gone.deleted and gone.id == made.id and gone.object == "file"
    for call in (openai_client.files.retrieve, openai_client.files.content, openai_client.files.delete):
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            call(made.id)


def test_expiry_that_was_asked_for(openai_client: openai.OpenAI) -> None:
    made = openai_client.files.create(
        file=("a.txt", b"a"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at is not None and made.expires_at - made.created_at in (3599, 3600, 3601)


def test_list_in_pages_and_by_purpose(openai_client: openai.OpenAI) -> None:
    ids = [upload(openai_client, purpose="evals" if number % 2 else "vision") for number in range(4)]
    found = openai_client.files.list(limit=2, purpose="vision", order="asc")
    first = [file.id for file in found.data]
    everything = [file.id for file in found]
    assert len(first) == 2 and set(ids[::2]) <= set(everything) and not set(ids[1::2]) & set(everything)
    newest = [file.id for file in openai_client.files.list().data]
    assert newest[:4] == ids[::-1]
    with pytest.raises(openai.BadRequestError, match="after"):
        openai_client.files.list(after="file-none")


@pytest.mark.parametrize(
    ("fields", "files", "param"),
    [
        ({"purpose": "user_data"}, None, "file"),
        ({"purpose": "user_data", "file": "text"}, None, "file"),
        ({}, {"file": ("a", b"a")}, "purpose"),
        ({"purpose": "nothing"}, {"file": ("a", b"a")}, "purpose"),
        ({"purpose": "user_data", "colour": "red"}, {"file": ("a", b"a")}, "colour"),
        ({"purpose": "user_data", "expires_after[seconds]": "4000"}, {"file": ("a", b"a")}, "expires_after[anchor]"),
        (
            {"purpose": "user_data", "expires_after[seconds]": "10", "expires_after[anchor]": "created_at"},
            {"file": ("a", b"a")},
            "expires_after[seconds]",
        ),
        ({"purpose": "user_data"}, {"file": ("a" * 256, b"a")}, "file"),
    ],
)
def test_bad_forms(
    adapter_url: str, fields: dict[str, str], files: dict[str, tuple[str, bytes]] | None, param: str
) -> None:
    parts: dict[str, Any] = {**{name: (None, value) for name, value in fields.items()}, **(files or {})}
    answer = httpx.post(f"{adapter_url}/v1/files", files=parts, trust_env=False)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_no_form_at_all(adapter_url: str) -> None:
    answer = httpx.post(f"{adapter_url}/v1/files", json={"purpose": "user_data"}, trust_env=False)
    assert answer.status_code == 415
    broken = httpx.post(
        f"{adapter_url}/v1/files", content=b"--", headers={"content-type": "multipart/form-data"}, trust_env=False
    )
    assert broken.status_code == 400 and broken.json()["error"]["type"] == "invalid_request_error"


def test_sizes(start_adapter: Callable[..., AdapterProcess]) -> None:
    adapter = start_adapter(max_body_bytes=2000, max_file_bytes=200_000)
    with openai.OpenAI(base_url=adapter.base_url, api_key="any", max_retries=0) as client:
        assert client.files.retrieve(upload(client, content=b"x" * 200_000)).bytes == 200_000
        with pytest.raises(openai.APIStatusError) as raised:
            upload(client, content=b"x" * 200_001)
        assert raised.value.status_code == 413
        with pytest.raises(openai.APIStatusError) as raised:
            upload(client, content=b"x" * 400_000)
        assert raised.value.status_code == 413
        with pytest.raises(openai.APIStatusError) as raised:
            client.vector_stores.create(name="x", metadata={str(n): "x" * 500 for n in range(10)})
        assert raised.value.status_code == 413


def test_files_belong_to_their_key(start_adapter: Callable[..., AdapterProcess]) -> None:
    adapter = start_adapter(api_keys="tg-ann,tg-bob")
    with (
        openai.OpenAI(base_url=adapter.base_url, api_key="tg-ann", max_retries=0) as ann,
        openai.OpenAI(base_url=adapter.base_url, api_key="tg-bob", max_retries=0) as bob,
    ):
        file = upload(ann)
        for call in (bob.files.retrieve, bob.files.content, bob.files.delete):
            with pytest.raises(openai.NotFoundError):
                call(file)
        assert bob.files.list().data == []
        store = ann.vector_stores.create(file_ids=[file])
        with pytest.raises(openai.NotFoundError, match="No such File"):
            bob.vector_stores.create(file_ids=[file])
        mine = bob.vector_stores.create()
        assert [entry.id for entry in bob.vector_stores.list().data] == [mine.id]
        with pytest.raises(openai.NotFoundError):
            bob.vector_stores.files.create(mine.id, file_id=file)
        for wrong in (
            lambda: bob.vector_stores.retrieve(store.id),
            lambda: bob.vector_stores.update(store.id, name="x"),
            lambda: bob.vector_stores.delete(store.id),
            lambda: bob.vector_stores.search(store.id, query="x"),
            lambda: bob.vector_stores.files.list(store.id),
            lambda: bob.vector_stores.files.retrieve(file, vector_store_id=store.id),
            lambda: bob.vector_stores.files.content(file, vector_store_id=store.id),
            lambda: bob.vector_stores.files.delete(file, vector_store_id=store.id),
        ):
            with pytest.raises(openai.NotFoundError, match=f"Vector store with id '{store.id}' not found"):
                wrong()
