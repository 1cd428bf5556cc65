"""The text of files: PDF in a process of its own, text in its encodings, and what has no text."""

from __future__ import annotations

import asyncio
import io
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pypdf
import pytest
from PIL import Image

from adapter.media.documents import DocumentLimits, DocumentReader, shown
from adapter.media.medium import MediaError
from tests.support.pdf import pdf


def encrypted(content: bytes, password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(content))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="AES-256")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


async def read(content: bytes, **limits: float) -> str:
    return await DocumentReader(DocumentLimits(**limits)).text(content)  # type: ignore[arg-type]


async def refused(content: bytes, **limits: float) -> MediaError:
    with pytest.raises(MediaError) as caught:
        await read(content, **limits)
    return caught.value


async def test_pages_of_a_pdf_are_paragraphs() -> None:
    assert (
        await read(pdf("The first (1) page", "caf\xe9", "", "the last")) == "The first (1) page\n\ncaf\xe9\n\nthe last"
    )


async def test_a_pdf_may_have_something_before_it() -> None:
    assert await read(b"\n \n" + pdf("after blanks")) == "after blanks"
    assert await read(b"\x00\xff junk\n" + pdf("after junk")) == "after junk"


async def test_a_text_that_speaks_of_pdf_is_text() -> None:
    text = "A file begins with %PDF-1.7, mostly."
    assert await read(text.encode()) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
async def test_text_in_its_encodings(encoding: str) -> None:
    assert (
        await read("Gr\xfc\xdfe, \u4e16\u754c \U0001f600\r\n<b>x</b>".encode(encoding))
        == "Gr\xfc\xdfe, \u4e16\u754c \U0001f600\r\n<b>x</b>"
    )


async def test_utf_16_of_the_other_order() -> None:
    assert await read(b"\xfe\xff" + "\xfcber".encode("utf-16-be")) == "\xfcber"


def image() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    return file.getvalue()


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as writer:
        writer.writestr("word/document.xml", "<x/>")
    return file.getvalue()


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda: b"", "empty_file", "is empty"),
        (lambda: b" \n\t ", "file_without_text", "holds no text"),
        (lambda: b"text \xff text", "unsupported_file", "neither a PDF file nor text"),
        (lambda: b"text \0 text", "unsupported_file", "neither a PDF file nor text"),
        (lambda: b"\xff\xfea", "unsupported_file", "neither a PDF file nor text"),
        (image, "unsupported_file", "is an image (image/png)"),
        (archive, "unsupported_file", "is a ZIP archive"),
        (lambda: b"RIFF\xff\xff\0\0WAVE", "unsupported_file", "is audio (wav)"),
        (lambda: pdf("", ""), "file_without_text", "scanned"),
        (lambda: pdf(), "file_without_text", "scanned"),
        (lambda: encrypted(pdf("secret"), "open sesame"), "encrypted_file", "password"),
        (lambda: b"%PDF-1.7\nnothing more", "file_parse_error", "damaged"),
        (lambda: pdf("x" * 500)[:200], "file_parse_error", "damaged"),
    ],
)
async def test_what_has_no_text(make: Callable[[], bytes], code: str, words: str) -> None:
    error = await refused(make())
    assert error.code == code
    assert words in error.message


async def test_a_file_that_is_only_protected_against_changes_is_read() -> None:
    assert await read(encrypted(pdf("for all to read"), "")) == "for all to read"


async def test_pages_and_characters_are_bounded() -> None:
    assert await read(pdf("abc", "def"), pages=2, characters=8) == "abc\n\ndef"
    error = await refused(pdf("abc", "def"), pages=1)
    assert (error.code, error.message) == ("file_too_large", "has more than 1 pages")
    error = await refused(pdf("abc", "def"), characters=5)
    assert (error.code, error.message) == ("file_too_large", "holds more than 5 characters of text")
    assert (await refused(b"123456", characters=5)).code == "file_too_large"


async def test_a_stream_that_unfolds_is_refused() -> None:
    bomb = pdf("x", content=b"0 0 m " * 50_000_000)
    assert len(bomb) < 1 << 20
    assert (await refused(bomb, memory=512 << 20, seconds=60)).code == "file_too_large"


async def test_a_process_without_memory_is_told() -> None:
    assert (await refused(pdf("x" * 20_000_000), memory=64 << 20, characters=30_000_000)).code == "file_too_large"


SLOW = pdf("x", content=b"BT /F1 12 Tf " + b"(a) Tj 1 0 0 1 5 5 cm " * 2_000_000 + b"ET")


async def test_time_is_bounded_and_the_process_is_gone() -> None:
    started = time.monotonic()
    error = await refused(SLOW, seconds=1)
    assert error.code == "file_too_large"
    assert time.monotonic() - started < 20
    assert children() == []


async def test_a_cancelled_reading_leaves_no_process() -> None:
    task = asyncio.ensure_future(read(SLOW))
    while not children():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == []


async def test_only_so_many_are_read_at_a_time() -> None:
    reader = DocumentReader(DocumentLimits(processes=1))
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, len(children()))
            await asyncio.sleep(0.005)

    watching = asyncio.ensure_future(watch())
    texts = await asyncio.gather(*(reader.text(pdf(f"number {index}")) for index in range(3)))
    watching.cancel()
    assert texts == ["number 0", "number 1", "number 2"]
    assert most == 1


async def test_the_process_sees_no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stand-in for the interpreter writes down the environment that it is given."""
    seen = tmp_path / "seen"
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\nenv > {seen}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("TRITONGATE_API_KEYS", "sk-secret")
    monkeypatch.setattr("sys.executable", str(fake))
    await refused(pdf("x"))
    assert "PATH=" in seen.read_text()
    assert "sk-secret" not in seen.read_text()


def children() -> list[int]:
    """Processes of this one that read a PDF file."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes()
            except (OSError, ValueError):
                continue
            if parent == os.getpid() and b"pdf_text" in command:
                found.append(int(entry.name))
    return found


def test_a_file_is_shown_with_its_name() -> None:
    assert shown("a.txt", "text") == '<file name="a.txt">\ntext\n</file>'
    assert shown(None, "text") == '<file name="file">\ntext\n</file>'
    assert shown('a"\n\u2028b' + "x" * 300, "t").splitlines()[0] == "<file name=\"a'  b" + "x" * 250 + '">'
