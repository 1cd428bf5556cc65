"""Images and audio in the request itself: every format, and what is wrong with one."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adapter.errors import APIError
from adapter.media.data_url import parse_data_url
from adapter.media.loader import MediaLoader
from adapter.media.medium import MediaError
from adapter.settings import Settings

PLACE = "messages[0].content[1].image_url.url"


@pytest.fixture
async def loader() -> AsyncIterator[MediaLoader]:
    loader = MediaLoader(Settings(max_media_bytes=1 << 20, max_image_edge=1000, max_audio_seconds=60, max_media=3))
    yield loader
    await loader.aclose()


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)  # type: ignore[arg-type]
    return file.getvalue()


def data_url(content: bytes, type: str) -> str:
    return f"data:{type};base64,{base64.b64encode(content).decode()}"


async def loaded(loader: MediaLoader, content: bytes, type: str, detail: str = "auto") -> Image.Image:
    medium = await loader.image(data_url(content, type), detail, PLACE, loader.budget())  # type: ignore[arg-type]
    image = Image.open(io.BytesIO(medium.data))
    image.load()
    assert (image.format, image.mode) == ("JPEG" if type == "image/jpeg" else "PNG", "RGB")
    return image


RED = Image.new("RGB", (40, 30), (254, 0, 0))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
async def test_every_format(loader: MediaLoader, format: str) -> None:
    image = await loaded(loader, saved(RED, format), f"image/{format.lower()}")
    assert image.size == (40, 30)
    assert np.abs(np.asarray(image).astype(int) - (254, 0, 0)).max() <= 3


async def test_modes_frames_and_orientation(loader: MediaLoader) -> None:
    grey = Image.fromarray(np.full((4, 4), 0x8000, np.uint16))
    assert (await loaded(loader, saved(grey, "PNG"), "image/png")).getpixel((0, 0)) == (128, 128, 128)
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert (await loaded(loader, saved(clear, "PNG"), "image/png")).getpixel((0, 0)) == (255, 255, 255)
    assert (await loaded(loader, saved(RED.convert("CMYK"), "JPEG"), "image/jpeg")).getpixel((9, 9))[0] > 240
    frames = saved(RED, "GIF", save_all=True, append_images=[Image.new("RGB", (40, 30), "blue")])
    assert (await loaded(loader, frames, "image/gif")).getpixel((0, 0)) == (254, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert (await loaded(loader, saved(RED, "JPEG", exif=exif), "image/jpeg")).size == (30, 40)


async def test_sizes(loader: MediaLoader) -> None:
    wide = saved(Image.new("RGB", (2000, 500)), "PNG")
    assert (await loaded(loader, wide, "image/png")).size == (1000, 250)
    assert (await loaded(loader, wide, "image/png", "low")).size == (512, 128)


def bomb() -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + crc + saved(RED, "PNG")[33:]


PNG = saved(RED, "PNG")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (data_url(bomb(), "image/png"), "image_too_large"),
        (data_url(saved(Image.new("1", (8000, 8000)), "PNG"), "image/png"), "image_too_large"),
        (data_url(PNG[:60], "image/png"), "image_parse_error"),
        (data_url(PNG[:8], "image/png"), "image_parse_error"),
        (data_url(saved(RED, "JPEG") + b"\xff\xda" * 200, "image/jpeg"), "image_parse_error"),
        (data_url(PNG, "image/jpeg"), "invalid_image_format"),
        (data_url(saved(RED, "TIFF"), "image/tiff"), "invalid_image_format"),
        (data_url(b"<svg/>", "image/svg+xml"), "invalid_image_format"),
        (data_url(b"%PDF" + PNG, "image/png"), "invalid_image_format"),
        (data_url(PNG, "text/html"), "unsupported_image_media_type"),
        (data_url(PNG, ""), "unsupported_image_media_type"),
        (data_url(b"", "image/png"), "empty_image_file"),
        (data_url(b"x" * (2 << 20), "image/png"), "image_file_too_large"),
        ("data:image/png;base64,QUJ", "invalid_base64_image"),
        ("data:image/png;base64,QU JD", "invalid_base64_image"),
        ("data:image/png;base64,QU-_", "invalid_base64_image"),
        ("data:image/png;base64,=QUJ", "invalid_base64_image"),
        ("data:image/png;base64", "invalid_image_url"),
        ("data:image/png,%zz", "invalid_image_url"),
        ("data: image/png;base64,QUJD", "invalid_image_url"),
        ("file:///etc/passwd", "invalid_image_url"),
    ],
)
async def test_what_is_wrong(loader: MediaLoader, url: str, code: str) -> None:
    with pytest.raises(APIError) as caught:
        await loader.image(url, "auto", PLACE, loader.budget())
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, PLACE, code)


async def test_what_hides_behind_an_image_is_gone(loader: MediaLoader) -> None:
    medium = await loader.image(data_url(PNG + b"PK\3\4secret", "image/png"), "auto", PLACE, loader.budget())
    assert b"secret" not in medium.data


async def test_a_request_has_its_bounds(loader: MediaLoader) -> None:
    budget = loader.budget()
    for _ in range(3):
        await loader.image(data_url(PNG, "image/png"), "auto", PLACE, budget)
    with pytest.raises(APIError, match="3 images"):
        await loader.image(data_url(PNG, "image/png"), "auto", PLACE, budget)


@given(st.binary(max_size=200))
def test_data_urls_hold_any_bytes(content: bytes) -> None:
    escaped = "".join(f"%{byte:02X}" for byte in content)
    for url in (data_url(content, "image/png;a=b"), f"DATA:image/PNG,{escaped}"):
        data = parse_data_url(url, 200)
        assert (data.media_type, data.content) == ("image/png", content)


@given(st.text(max_size=60))
def test_anything_else_is_refused_in_order(text: str) -> None:
    try:
        parse_data_url("data:" + text, 10)
    except MediaError as error:
        assert error.code in ("invalid_image_url", "invalid_base64_image", "image_file_too_large")


def wav(samples: int, rate: int = 16000, tag: int = 1) -> bytes:
    form = struct.pack("<HHIIHH", tag, 1, rate, rate * 2, 2, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", samples * 2) + b"\0" * samples * 2
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


MP3_FRAME = b"\xff\xfb\x90\x00" + b"\0" * 413  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz: 417 bytes, 26 ms


@pytest.mark.parametrize(("content", "format"), [(wav(16000), "wav"), (MP3_FRAME * 20, "mp3")])
async def test_audio(loader: MediaLoader, content: bytes, format: str) -> None:
    encoded = base64.b64encode(content).decode()
    medium = await loader.audio(encoded, format, "p", loader.budget())  # type: ignore[arg-type]
    assert (medium.kind, medium.data) == ("audio", content)


@pytest.mark.parametrize(
    ("content", "format", "code"),
    [
        (wav(16000), "mp3", "invalid_audio_format"),
        (b"fLaC" + b"\0" * 50, "wav", "invalid_audio_format"),
        (wav(100, rate=1), "wav", "audio_too_long"),
        (MP3_FRAME * 2400, "mp3", "audio_too_long"),
        (wav(10, tag=2), "wav", "invalid_audio_format"),
        (wav(10)[:20], "wav", "audio_parse_error"),
        (wav(0), "wav", "empty_audio_file"),
        (b"ID3" + b"\0" * 50, "mp3", "audio_parse_error"),
        (b"", "wav", "empty_audio_file"),
        (b"x" * (2 << 20), "wav", "audio_file_too_large"),
    ],
)
async def test_audio_that_is_wrong(loader: MediaLoader, content: bytes, format: str, code: str) -> None:
    with pytest.raises(APIError) as caught:
        await loader.audio(base64.b64encode(content).decode(), format, "p", loader.budget())  # type: ignore[arg-type]
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "p", code)
