"""The bindings of llama.cpp's multimodal library, on a tiny projector beside the real small text model."""

from __future__ import annotations

import ctypes
import io
import struct
import wave
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from build.catalog import load_catalog
from build.fetch import fetch
from tests.support import models
from tests.support.model_modules import model_module
from tests.support.tiny_media_model import write_projector
from tokentext.cache import cache_folder

audio_header = model_module("llama_cpp", "audio_header")
image_header = model_module("llama_cpp", "image_header")
llama = model_module("llama_cpp", "llama")
multimodal = model_module("llama_cpp", "multimodal")
TEXT_WIDTH = 576


def png(color: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 24), color).save(file, "PNG")
    return file.getvalue()


def wav(frequency: float, count: int = 8000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16000)
        samples = np.sin(np.arange(count) * frequency) * 9000
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def bomb() -> bytes:
    """A PNG whose header names 16,000 x 16,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 16000, 16000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    entry = load_catalog().get(models.CHAT)
    loaded = llama.Model(str(fetch(entry, cache_folder())[entry.weights.name]))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def projector(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    path = write_projector(tmp_path_factory.mktemp("projector") / "mmproj.gguf", TEXT_WIDTH)
    made = multimodal.Projector(str(path), model, 1)
    yield made
    made.close()


def embeddings(parts: list[Any]) -> np.ndarray:
    return np.concatenate([part.embeddings for part in parts if isinstance(part, multimodal.EmbeddingPart)])


@pytest.mark.parametrize("make, first, second", [(png, "red", "blue"), (wav, 0.05, 0.3)])
def test_a_medium_becomes_embeddings(projector: Any, make: Any, first: Any, second: Any) -> None:
    parts, again, other = (projector.parts(make(value)) for value in (first, first, second))
    assert embeddings(parts).shape[1] == TEXT_WIDTH
    assert (embeddings(parts) == embeddings(again)).all()
    assert not np.allclose(embeddings(parts), embeddings(other), atol=0.05)
    counted = projector.parts(make(first), encode=False)
    assert [part.count for part in counted] == [part.count for part in parts]
    assert all(part.embeddings is None for part in counted if isinstance(part, multimodal.EmbeddingPart))


def test_embeddings_reach_the_logits(model: Any, projector: Any) -> None:
    context = llama.Context(model, sequences=2, length=512, batch=256, threads=(1, 1))
    prompt = np.array([1, 4093, 198], dtype=np.int32)

    def logits(data: bytes, sequence: int) -> np.ndarray:
        position = 0
        for part in projector.parts(data):
            if isinstance(part, multimodal.TokenPart):
                assert context.prefill(sequence, part.tokens, position, part.count)
            else:
                places = part.positions + position
                causal = not part.non_causal
                assert context.prefill_embeddings(sequence, part.embeddings, places, causal=causal, last=False)
            position += part.advance
        assert context.prefill(sequence, prompt, position, len(prompt) - 1)
        found = context.logits(len(prompt) - 1).copy()
        assert context.keep(sequence, 0)
        return found

    red, red_elsewhere, blue = logits(png("red"), 0), logits(png("red"), 1), logits(png("blue"), 0)
    sound, other_sound = logits(wav(0.05), 0), logits(wav(0.3), 0)
    context.close()
    assert np.isfinite(red).all()
    assert np.allclose(red, red_elsewhere, atol=1e-3)
    assert np.abs(red - blue).max() > 0.1
    assert np.abs(sound - other_sound).max() > 0.1


@pytest.mark.parametrize(
    "data", [b"", b"no medium", png("red")[:60], b"RIFF" + bytes(40), b"#EXTM3U\nfile:///etc/passwd"]
)
def test_what_cannot_be_read_is_refused(projector: Any, data: bytes) -> None:
    with pytest.raises(multimodal.MediaError, match="that can be read"):
        projector.parts(data)


def test_too_many_pixels_are_refused_before_they_are_decoded(projector: Any) -> None:
    with pytest.raises(multimodal.MediaError, match="16000 x 16000 pixels"):
        projector.parts(bomb())


@pytest.mark.parametrize("modality, wrong", [("vision", wav(0.1)), ("audio", png("red"))])
def test_a_modality_that_the_model_lacks(model: Any, tmp_path: Path, modality: str, wrong: bytes) -> None:
    path = write_projector(tmp_path / "mmproj.gguf", TEXT_WIDTH, vision=modality == "vision", audio=modality == "audio")
    made = multimodal.Projector(str(path), model, 1)
    assert made.modalities == {"vision": {"image"}, "audio": {"audio"}}[modality]
    with pytest.raises(multimodal.MediaError):
        made.parts(wrong)
    made.close()


def test_a_projector_of_another_width_is_refused(model: Any, tmp_path: Path) -> None:
    path = write_projector(tmp_path / "mmproj.gguf", 64)
    with pytest.raises(llama.LlamaError, match="cannot load"):
        multimodal.Projector(str(path), model, 1)


def test_another_layout_is_refused() -> None:
    params = multimodal._ContextParams(n_threads=4, batch_max_tokens=0)
    with pytest.raises(llama.LlamaError, match="batch_max_tokens is not 1024"):
        multimodal._check("mtmd_context_params", params, {"n_threads": 4, "batch_max_tokens": 1024})
    with pytest.raises(llama.LlamaError, match="does not export"):
        multimodal._bind(ctypes.CDLL(None))


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "RGB", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("GIF", "RGB", {}),
        ("BMP", "RGB", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {}),
    ],
)
def test_size_from_the_header(kind: str, mode: str, options: dict[str, Any]) -> None:
    file = io.BytesIO()
    Image.effect_noise((37, 21), 90).convert(mode).save(file, kind, **options)
    data = file.getvalue()
    assert image_header.image_size(data) == (37, 21)
    assert all(image_header.image_size(data[:cut]) in (None, (37, 21)) for cut in range(len(data)))


@pytest.mark.parametrize("encode", [False, True])
def test_hardly_any_sound_is_refused(projector: Any, encode: bool) -> None:
    for count in (1, 2, 1599):
        with pytest.raises(multimodal.MediaError, match=r"less than 0\.1 seconds"):
            projector.parts(wav(0.1, count), encode=encode)
    assert projector.parts(wav(0.1, 1600), encode=encode)


@pytest.mark.parametrize("size", [(1, 1), (1, 9000), (9000, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_images_of_odd_shapes(projector: Any, size: tuple[int, int], mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, size).save(file, "PNG")
    assert sum(part.count for part in projector.parts(file.getvalue())) == 30


def id3(size: int, flags: int = 0) -> bytes:
    return b"ID3\x04\x00" + bytes([flags, 0, 0, size >> 7, size & 0x7F]) + b"t" * size


def test_tags_before_a_recording_are_taken_away() -> None:
    mp3 = b"\xff\xfb\x90\x00" + bytes(50)
    for tags in (b"", id3(200), id3(5) + id3(130), id3(5) + bytes(3), id3(5, flags=0x10) + b"3DI" + bytes(7)):
        assert audio_header.readable_audio(tags + mp3) == mp3
    sound = wav(0.1)
    assert audio_header.readable_audio(sound) == sound


@pytest.mark.parametrize("tags", [b"", id3(7)])
@pytest.mark.parametrize("beginning", [b"fLaC", b"OggS", b"RIFF", b"\xff\x00", b"\xff", b"", b"ID3"])
def test_other_recordings_are_not_handed_on(tags: bytes, beginning: bytes) -> None:
    assert audio_header.readable_audio(tags + beginning) is None


@pytest.mark.parametrize("rate, taken", [(1, False), (7999, False), (8000, True), (384001, False)])
def test_a_rate_that_would_blow_up_is_refused(projector: Any, rate: int, taken: bool) -> None:
    sound = wav(0.1)
    changed = sound.replace(struct.pack("<I", 16000), struct.pack("<I", rate), 1)
    assert (audio_header.readable_audio(changed) is not None) == taken
    hidden = sound + b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
    assert (audio_header.readable_audio(hidden) is not None) == taken
    if not taken:
        with pytest.raises(multimodal.MediaError, match="that can be read"):
            projector.parts(changed)
