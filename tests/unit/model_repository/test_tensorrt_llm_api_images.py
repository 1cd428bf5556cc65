"""Images of a prompt for TensorRT-LLM's LLM API: read from their files, and marked among the tokens."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.model_modules import model_module
from tests.support.stand_in_imports import stand_in_installed

images = model_module("tensorrt_llm_api", "images")
image_prompts = model_module("tensorrt_llm_api", "image_prompts")
llm_args = model_module("tensorrt_llm_api", "llm_args")
request = model_module("tensorrt_llm_api", "request")


def file_of(
    color: Any, form: str = "PNG", size: tuple[int, int] = (40, 24), mode: str = "RGB", **options: Any
) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, form, **options)
    return file.getvalue()


def claimed(width: int, height: int) -> bytes:
    """A PNG file's header that speaks of so many pixels, and nothing behind it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.mark.parametrize(
    ("form", "mode", "color"),
    [
        ("PNG", "RGB", (250, 10, 20)),
        ("JPEG", "RGB", (250, 10, 20)),
        ("WEBP", "RGB", (250, 10, 20)),
        ("BMP", "RGB", (250, 10, 20)),
        ("PNG", "RGBA", (250, 10, 20, 255)),
        ("PNG", "L", 120),
        ("GIF", "P", 3),
    ],
)
def test_formats_become_rgb(form: str, mode: str, color: Any) -> None:
    (image,) = images.decoded([file_of(color, form, mode=mode)])
    assert (image.mode, image.size) == ("RGB", (40, 24))
    expected = Image.new(mode, (1, 1), color).convert("RGB").getpixel((0, 0))
    if form != "GIF":  # which reorders its palette
        assert np.abs(np.subtract(image.getpixel((39, 23)), expected)).max() < 8


def test_the_first_of_several_frames() -> None:
    file = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    (image,) = images.decoded([file.getvalue()])
    assert image.getpixel((0, 0)) == (255, 0, 0)


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def palette(transparent: int) -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    return saved(image, transparency=transparent)


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        (file_of((250, 10, 20, 0), mode="RGBA", size=(1, 1)), [(255, 255, 255)]),
        (file_of((0, 0, 0, 127), mode="RGBA", size=(1, 1)), [(128, 128, 128)]),
        (file_of((9, 0), mode="LA", size=(1, 1)), [(255, 255, 255)]),
        (palette(1), [(255, 0, 0), (255, 255, 255)]),
        (file_of((0, 0, 0, 0), mode="CMYK", form="JPEG", size=(1, 1)), [(255, 255, 255)]),
        (saved(Image.fromarray(np.array([[0, 0x7FFF, 0xFFFF]], np.uint16))), [(0,) * 3, (127,) * 3, (255,) * 3]),
    ],
    ids=["clear", "half clear", "clear gray", "palette", "CMYK", "16 bits"],
)
def test_pixels_that_are_more_than_rgb(data: bytes, pixels: list[tuple[int, ...]]) -> None:
    """What is transparent is white, as TensorRT-LLM's own reader has it; sixteen bits become the upper eight."""
    (image,) = images.decoded([data])
    assert image.mode == "RGB"
    assert [image.getpixel((place, 0)) for place in range(image.width)] == pixels


def test_a_photo_that_was_taken_upright() -> None:
    notes = Image.Exif()
    notes[0x0112] = 6  # the camera was turned: the first row is the right side
    photo = Image.new("RGB", (40, 24), "red")
    photo.paste("blue", (0, 0, 40, 12))
    (image,) = images.decoded([saved(photo, "JPEG", exif=notes, quality=95)])
    assert image.size == (24, 40)
    assert np.abs(np.subtract(image.getpixel((20, 20)), (0, 0, 255))).max() < 8
    (image,) = images.decoded([saved(photo, "JPEG", exif=b"Exif\0\0nonsense", quality=95)])
    assert image.size == (40, 24)


GOOD = file_of("red")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([b"no image"], "media: file 1 of 1: not an image .PNG, JPEG, WEBP, GIF, BMP. that can be read"),
        ([GOOD, GOOD[:60]], "media: file 2 of 2: not an image that can be read: "),
        ([b"\xff\xd8\xff" + GOOD], "media: file 1 of 1: not an image"),
        ([b"GIF89a" + bytes(20)], "media: file 1 of 1: not an image that can be read: cannot identify image file$"),
        ([file_of("red", "TIFF")], "media: file 1 of 1: not an image"),
        ([claimed(8001, 8000)], "media: file 1 of 1: 8001 x 8000 pixels are more than 64000000"),
        ([claimed(8000, 8000)] * 4 + [GOOD], "media: 256000960 pixels in 5 images; at most 256000000"),
    ],
)
def test_files_that_are_refused(files: list[bytes], message: str) -> None:
    with pytest.raises(request.RequestError, match=message):
        images.decoded(files)


class Tokenizer:
    """Every word in brackets is a token."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        assert not add_special_tokens
        return [90 + index for index, _ in enumerate(text.split("><"))] if "><" in text else [int(text[8:-2])]


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with stand_in_installed(tmp_path_factory.mktemp("stand-in") / "package", "1.3.0"):
        yield


def prompts_of(folder: Path, model_type: str = "qwen2_5_vl", **config: Any) -> Any:
    (folder / "config.json").write_text(json.dumps({"model_type": model_type, **config}))
    return image_prompts.ImagePrompts(SimpleNamespace(tokenizer=Tokenizer()), str(folder), 100)


def test_each_place_gets_the_models_mark(tmp_path: Path) -> None:
    prompt = np.array([5, 6, 7], np.int32)
    assert prompts_of(tmp_path).token_ids(prompt, (0, 2, 2, 3)) == [
        *(90, 91, 92, 5, 6),
        *(90, 91, 92, 90, 91, 92, 7),
        *(90, 91, 92),
    ]


def test_marks_that_are_numbered(tmp_path: Path) -> None:
    prompt = np.array([5, 6], np.int32)
    assert prompts_of(tmp_path, "phi4mm").token_ids(prompt, (1, 2)) == [5, 1, 6, 2]


@pytest.mark.parametrize("key", ["image_token_id", "video_token_id", "vision_start_token_id", "image_token_index"])
def test_a_prompt_that_writes_the_mark_itself(tmp_path: Path, key: str) -> None:
    """The LLM would look for an image more than there is."""
    prompts = prompts_of(tmp_path, **{key: 91, "eos_token_id": 6, "vision_feature_layer": 5})
    prompts.check_tokens(np.array([5, 6], np.int32))
    with pytest.raises(request.RequestError, match="input_ids: token 91 stands for media"):
        prompts.check_tokens(np.array([5, 91], np.int32))


def test_a_model_without_images_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(llm_args.SettingError, match="takes no images for models of type 'llama'"):
        prompts_of(tmp_path, "llama")


def test_prompts_of_other_files_share_no_cache() -> None:
    salts = {
        image_prompts.salt(*made)
        for made in [(b"", [b"a"]), (b"", [b"b"]), (b"x", [b"a"]), (b"", [b"a", b"b"]), (b"", [b"b", b"a"])]
    }
    assert len(salts) == 5
    assert image_prompts.salt(b"", [b"a"]) == image_prompts.salt(b"", [b"a"])
