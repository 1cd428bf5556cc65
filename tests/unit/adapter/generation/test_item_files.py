"""Files in items and in chat messages: read, put in their places, and named when they cannot be used."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from PIL import Image

from adapter.errors import APIError
from adapter.generation.item_files import read_item_files
from adapter.generation.item_messages import item_messages
from adapter.generation.media_parts import MediaParts
from adapter.media.documents import DocumentLimits, DocumentReader
from adapter.media.loader import MediaLoader
from adapter.routes.chat_files import read_chat_files
from adapter.schema.chat import parse_chat_request
from adapter.schema.chat_messages import template_messages
from adapter.settings import Settings
from tests.support.pdf import pdf

Item = dict[str, Any]


@pytest.fixture
async def loader() -> AsyncIterator[MediaLoader]:
    loader = MediaLoader(Settings(max_media_bytes=1 << 16, max_media_total_bytes=100_000, max_media=3))
    yield loader
    await loader.aclose()


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, "PNG")
    return file.getvalue()


KEPT = {"file-1": ("kept.txt", b"kept text"), "file-2": ("picture", png()), "file-3": ("big", b"x" * 70_000)}


async def kept(file_id: str) -> tuple[str, bytes] | None:
    return KEPT.get(file_id)


def text(content: str) -> Item:
    return {"type": "input_text", "text": content}


def file(**fields: Any) -> Item:
    return {"type": "input_file", **fields}


def user(*parts: Item, id: str = "msg_1") -> Item:
    return {"type": "message", "id": id, "role": "user", "content": list(parts)}


async def test_files_become_text_in_their_places(loader: MediaLoader) -> None:
    report = file(filename="r.pdf", file_data="data:application/pdf;base64," + encoded(pdf("page one", "page two")))
    notes = file(file_data=encoded(b"notes"), filename=None)
    output = {
        "type": "function_call_output",
        "id": "fco_1",
        "call_id": "1",
        "output": [file(file_id="file-1"), text("b")],
    }
    call = {"type": "function_call", "id": "fc_1", "call_id": "1", "name": "f", "arguments": "{}"}
    items = [user(text("a"), report, notes), call, output]
    before = repr(items)
    read = await read_item_files(items, loader, loader.budget(), kept)
    assert repr(items) == before
    assert read[1] is call
    assert [message["content"] for message in item_messages(read, None, MediaParts(frozenset()))] == [
        'a\n<file name="r.pdf">\npage one\n\npage two\n</file>\n<file name="file">\nnotes\n</file>',
        "",
        '<file name="kept.txt">\nkept text\n</file>\nb',
    ]


async def test_items_without_files_stay_as_they_are(loader: MediaLoader) -> None:
    items = [user(text("a")), {"type": "message", "id": "m", "role": "user", "content": "b"}]
    read = await read_item_files(items, loader, loader.budget())
    assert all(one is other for one, other in zip(items, read, strict=True))


async def test_an_image_by_its_file(loader: MediaLoader) -> None:
    (read,) = await read_item_files(
        [user({"type": "input_image", "file_id": "file-2", "detail": "low"})], loader, loader.budget(), kept
    )
    media = MediaParts(frozenset({"image"}))
    item_messages([read], None, media)
    (medium,) = await media.load(loader)
    assert Image.open(io.BytesIO(medium.data)).size == (4, 4)
    assert media.parts[0].form == "low"


@pytest.mark.parametrize(
    ("part", "param", "code", "words"),
    [
        (file(), "file_data", "missing_required_parameter", "file_data"),
        (
            file(file_data="eA==", file_id="file-1"),
            "file_id",
            "invalid_parameter_combination",
            "cannot be given together",
        ),
        (file(file_id="file-9"), "file_id", "file_not_found", "does not exist"),
        (file(file_id="file-3"), "file_id", "file_too_large", "more than 65,536 bytes"),
        (file(file_id="file-2"), "file_id", "unsupported_file", "is an image"),
        (file(file_data="eA="), "file_data", "invalid_base64_file", "multiple of four"),
        (file(file_data="data:;base64,e!=="), "file_data", "invalid_base64_file", "holds no valid base64"),
        (file(file_data="data:nonsense"), "file_data", "invalid_file_url", "no valid data URL"),
        (file(file_data=encoded(b"x" * 70_000)), "file_data", "file_too_large", "more than 65,536 bytes"),
        (file(file_data="data:,"), "file_data", "empty_file", "is empty"),
        (file(file_data=encoded(pdf(""))), "file_data", "file_without_text", "holds no text"),
        (file(file_url="ftp://u.example/a.txt"), "file_url", "invalid_file_url", "not of a kind"),
        (file(file_url="http://[::1/a.txt"), "file_url", "invalid_file_url", "is no valid URL"),
        (file(file_url="http://127.0.0.1/a.txt"), "file_url", "invalid_file_url", "no address on the public internet"),
        ({"type": "input_image", "detail": "auto"}, "image_url", "missing_required_parameter", "image_url"),
        ({"type": "input_image", "file_id": "file-1"}, "file_id", "invalid_image_format", "no image"),
        ({"type": "input_image", "file_id": "file-9"}, "file_id", "file_not_found", "does not exist"),
        (
            {"type": "input_image", "file_id": "file-2", "image_url": "https://u.example/"},
            "file_id",
            "invalid_parameter_combination",
            "cannot be given together",
        ),
    ],
)
async def test_what_is_wrong_with_a_file(loader: MediaLoader, part: Item, param: str, code: str, words: str) -> None:
    with pytest.raises(APIError) as caught:
        await read_item_files([user(text("a")), user(text("b"), part)], loader, loader.budget(), kept)
    error = caught.value
    assert (error.status, error.param, error.code) == (400, f"input[1].content[1].{param}", code)
    assert words in error.message


async def test_places(loader: MediaLoader) -> None:
    for places, param in (({"msg_7": "input[4]"}, "input[4].content[0].file_id"), ({}, "input")):
        with pytest.raises(APIError) as caught:
            await read_item_files([user(file(file_id="x"), id="msg_7")], loader, loader.budget(), kept, places)
        assert caught.value.param == param


async def test_without_a_store_there_is_no_file(loader: MediaLoader) -> None:
    for part in (file(file_id="file-1"), {"type": "input_image", "file_id": "file-2"}):
        with pytest.raises(APIError) as caught:
            await read_item_files([user(part)], loader, loader.budget())
        assert (caught.value.param, caught.value.code) == ("input[0].content[0].file_id", "unsupported_parameter")


async def test_files_count_with_the_other_media(loader: MediaLoader) -> None:
    small = file(file_data=encoded(b"x"))
    budget = loader.budget()
    await read_item_files([user(small, small)], loader, budget)
    media = MediaParts(frozenset({"image"}))
    picture = {"type": "input_image", "image_url": "data:image/png;base64," + encoded(png())}
    item_messages([user(picture, picture)], None, media)
    with pytest.raises(APIError) as caught:
        await media.load(loader, budget)
    assert (caught.value.param, caught.value.code) == ("input[0].content[1].image_url", "too_many_media")
    large = file(file_data=encoded(b"x" * 60_000))
    with pytest.raises(APIError) as caught:
        await read_item_files([user(large, large)], loader, loader.budget())
    assert caught.value.code == "media_too_large"


async def test_the_text_of_all_files_is_bounded(loader: MediaLoader) -> None:
    budget = loader.budget()
    budget.take_characters(3_999_999, "x")
    await read_item_files([user(file(file_data=encoded(b"x")))], loader, budget)
    with pytest.raises(APIError) as caught:
        await read_item_files([user(file(file_data=encoded(b"x")))], loader, budget)
    assert (caught.value.param, caught.value.code) == ("input[0].content[0].file_data", "file_too_large")


async def test_the_time_of_all_files_is_bounded(loader: MediaLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(file_id: str) -> tuple[str, bytes] | None:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr("adapter.media.loader._FILES_SECONDS", 0.05)
    with pytest.raises(APIError, match=r"more than 0\.05 seconds") as caught:
        await read_item_files([user(file(file_id="file-1"))], loader, loader.budget(), never)
    assert (caught.value.param, caught.value.code) == ("input[0].content[0].file_id", "file_too_large")


async def test_files_of_a_request_do_not_wait_for_each_other_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def slowly(reader: DocumentReader, content: bytes) -> tuple[bytes, int]:
        await asyncio.sleep(0.2)
        return b'{"text": "x"}\n{"end": true}\n', 0

    monkeypatch.setattr(DocumentReader, "_run", slowly)
    loader = MediaLoader(Settings())
    loader.documents = DocumentReader(DocumentLimits(processes=1, seconds=0.5))
    (item,) = await read_item_files(
        [user(*(file(file_data=encoded(pdf("x"))) for _ in range(4)))], loader, loader.budget()
    )
    assert len(item["content"]) == 4
    await loader.aclose()


def chat(*parts: Item) -> Any:
    body = {"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": list(parts)}]}
    return parse_chat_request(body).messages


async def test_chat_files(loader: MediaLoader) -> None:
    messages = chat(
        {"type": "text", "text": "Compare."},
        {"type": "file", "file": {"file_data": "data:text/csv,a%2Cb", "filename": "t.csv"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    )
    read = await read_chat_files(messages, loader, loader.budget(), kept)
    assert template_messages(read, MediaParts(frozenset())) == [
        {"role": "system", "content": "s"},
        {
            "role": "user",
            "content": 'Compare.\n<file name="t.csv">\na,b\n</file>\n<file name="kept.txt">\nkept text\n</file>',
        },
    ]


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        ({}, "file_data", "missing_required_parameter"),
        ({"filename": "a"}, "file_data", "missing_required_parameter"),
        ({"file_id": "file-1"}, "file_id", "unsupported_parameter"),
        ({"file_id": "file-1", "file_data": "eA=="}, "file_id", "invalid_parameter_combination"),
        ({"file_data": encoded(b"\xff")}, "file_data", "unsupported_file"),
    ],
)
async def test_what_is_wrong_with_a_chat_file(loader: MediaLoader, given: Item, param: str, code: str) -> None:
    with pytest.raises(APIError) as caught:
        await read_chat_files(chat({"type": "file", "file": given}), loader, loader.budget())
    assert (caught.value.param, caught.value.code) == (f"messages[1].content[0].file.{param}", code)
