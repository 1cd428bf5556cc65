"""The text of a file of a client: PDF, or text of any kind. Told by the content; names and types are only claims."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

from adapter.errors import overloaded
from adapter.media.budget import MOST_CHARACTERS
from adapter.media.medium import MediaError
from adapter.media.sniff import sniff_audio, sniff_image

_BOMS = (  # the longer first: UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PDF = b"%PDF-"
_PDF_WITHIN = 1024  # bytes; readers look that far for where the file begins
_TAKEN = "PDF and text files are taken"
_LONGEST_NAME = 255
# All that the child needs to start as this process did; it must not see keys.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG")
_CHUNK = 1 << 16
_WIDEST = 6  # bytes of a character in JSON


@dataclass(frozen=True)
class DocumentLimits:
    """pages, seconds (of the clock and of the processor), memory (bytes): of one PDF file. characters: of any file.

    processes: PDF files that are read at a time; more wait, for `seconds` at most.
    """

    pages: int = 2000
    characters: int = MOST_CHARACTERS
    seconds: float = 30.0
    memory: int = 768 << 20
    processes: int = 2


class DocumentReader:
    """Made once a process, within a running event loop."""

    def __init__(self, limits: DocumentLimits | None = None) -> None:
        self._limits = limits or DocumentLimits()
        self._slots = asyncio.Semaphore(self._limits.processes)

    async def text(self, content: bytes) -> str:
        """The text of a file; pages of a PDF are paragraphs. Not empty.

        Raises:
            MediaError: the file has no text that can be had.
            APIError: 503, too many PDF files are waiting.
        """
        if not content:
            raise MediaError("is empty", "empty_file")
        text = None if content[:_PDF_WITHIN].lstrip().startswith(_PDF) else await asyncio.to_thread(_plain, content)
        if text is None:
            if _PDF not in content[:_PDF_WITHIN]:
                raise MediaError(f"{_what(content)} ({_TAKEN})", "unsupported_file")
            text = await self._pdf(content)
            if not text:
                raise MediaError("holds no text: a scanned document has to be sent as images", "file_without_text")
        if not text.strip():
            raise MediaError("holds no text", "file_without_text")
        if len(text) > self._limits.characters:
            raise _too_many_characters(self._limits)
        return text

    async def _pdf(self, content: bytes) -> str:
        seconds = self._limits.seconds
        try:
            await asyncio.wait_for(self._slots.acquire(), seconds)
        except asyncio.TimeoutError:
            raise overloaded("Too many PDF files are being read at the moment.") from None
        try:
            output, status = await asyncio.wait_for(self._run(content), seconds)
        except asyncio.TimeoutError:
            raise MediaError(f"takes more than {seconds:g} seconds to read", "file_too_large") from None
        finally:
            self._slots.release()
        return await asyncio.to_thread(_joined, output, status, self._limits)

    async def _run(self, content: bytes) -> tuple[bytes, int]:
        """What the child wrote, and how it ended."""
        limits = self._limits
        numbers = (limits.pages, limits.characters, limits.memory, max(1, int(limits.seconds)))
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "adapter.media.pdf_text", *map(str, numbers)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            start_new_session=True,  # the terminal's Ctrl-C is for the server to act on
        )
        assert child.stdin is not None and child.stdout is not None
        feeding = asyncio.ensure_future(_feed(child.stdin, content))
        try:
            output = bytearray()
            most = limits.characters * _WIDEST + limits.pages * 32 + _CHUNK
            while len(output) <= most and (piece := await child.stdout.read(_CHUNK)):
                output += piece
            if len(output) > most:
                raise _too_many_characters(limits)
            return bytes(output), await child.wait()
        finally:
            feeding.cancel()
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()


async def _feed(stdin: asyncio.StreamWriter, content: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # the child has ended: its output says why
        stdin.write(content)
        await stdin.drain()
        stdin.close()


def shown(filename: str | None, text: str) -> str:
    """A file as a prompt shows it."""
    name = "".join(character if character.isprintable() else " " for character in (filename or "file")[:_LONGEST_NAME])
    return f'<file name="{name.replace(chr(34), chr(39))}">\n{text}\n</file>'


def _plain(content: bytes) -> str | None:
    """None: it is no text."""
    encoding = next((encoding for bom, encoding in _BOMS if content.startswith(bom)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _what(content: bytes) -> str:
    if image := sniff_image(content):
        return f"is an image ({image}), which goes into a part of its own kind"
    if audio := sniff_audio(content):
        return f"is audio ({audio}), which goes into a part of its own kind"
    if content.startswith(b"PK\x03\x04"):
        return "is a ZIP archive, or a document of an office program"
    return "is neither a PDF file nor text in UTF-8, or in UTF-16 with a byte order mark"


def _joined(output: bytes, status: int, limits: DocumentLimits) -> str:
    """The text that the child's lines hold. Raises MediaError."""
    lines = output.split(b"\n")
    last = json.loads(lines[-2]) if len(lines) > 1 else {}
    if "end" in last:
        return "\n\n".join(text for line in lines[:-2] if (text := json.loads(line)["text"]))
    if "error" in last:
        raise _ERRORS[last["error"]](limits)
    if status == -signal.SIGXCPU:
        raise MediaError("takes too much work to read", "file_too_large")
    raise _too_large(limits)  # killed for want of memory, most likely


def _too_many_characters(limits: DocumentLimits) -> MediaError:
    return MediaError(f"holds more than {limits.characters:,} characters of text", "file_too_large")


def _too_large(limits: DocumentLimits) -> MediaError:
    return MediaError("takes too much memory to read", "file_too_large")


_ERRORS: dict[str, Callable[[DocumentLimits], MediaError]] = {
    "encrypted": lambda limits: MediaError("is encrypted: it opens only with a password", "encrypted_file"),
    "pages": lambda limits: MediaError(f"has more than {limits.pages:,} pages", "file_too_large"),
    "characters": _too_many_characters,
    "too_large": _too_large,
    "damaged": lambda limits: MediaError("is damaged: it cannot be read as PDF", "file_parse_error"),
}
