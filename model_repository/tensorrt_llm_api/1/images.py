"""The images of a request: encoded files become what the LLM API takes, with Pillow, which comes with TensorRT-LLM."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from .image_header import MAX_PIXELS, image_size
from .request import RequestError

MAX_PIXELS_TOGETHER = 256_000_000  # of all images of a request: they are in memory at the same time
_ADDRESS = re.compile(r" <[^>]* at 0x[0-9a-f]+>")  # Pillow names its buffer, and where it is in memory
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # those whose header tells the size before anything is decoded


def decoded(files: Sequence[bytes]) -> list[Any]:
    """PIL images, RGB, upright (EXIF), on white where they are transparent; of a file with several frames the first.

    Raises:
        RequestError: `media: ...`, with the number of the file that is broken, too large or no image.
    """
    sizes = [image_size(data) for data in files]
    for number, size in enumerate(sizes, 1):
        if size is None:
            raise _refusal(number, files, f"not an image ({', '.join(_FORMATS)}) that can be read")
        if size[0] * size[1] > MAX_PIXELS:
            raise _refusal(number, files, f"{size[0]} x {size[1]} pixels are more than {MAX_PIXELS}")
    together = sum(size[0] * size[1] for size in sizes if size is not None)
    if together > MAX_PIXELS_TOGETHER:
        raise RequestError(
            "media", f"{together} pixels in {len(files)} images; at most {MAX_PIXELS_TOGETHER} are taken"
        )
    images = []
    for number, (data, size) in enumerate(zip(files, sizes, strict=True), 1):
        try:
            images.append(_decode(data, size))
        except Exception as error:  # decoders tell of a broken file by exceptions of many classes
            problem = _ADDRESS.sub("", str(error))
            raise _refusal(number, files, f"not an image that can be read: {problem}") from None
    return images


def _decode(data: bytes, size: tuple[int, int] | None) -> Any:
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.size != size:  # another decoder than the header was read for
            raise ValueError(f"its header speaks of {size}, its content of {image.size}")
        image.load()
        with suppress(Exception):  # of broken notes about a picture that is whole
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):
            # Sixteen bits of gray: `convert` would make all but the darkest white.
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        if "A" not in image.getbands() and "transparency" not in image.info:
            return image.convert("RGB")
        clear = image if image.mode == "RGBA" else image.convert("RGBA")  # under a transparent place may be any colour
        white = Image.new("RGB", clear.size, "white")
        white.paste(clear, mask=clear.getchannel("A"))
        return white


def _refusal(number: int, files: Sequence[bytes], problem: str) -> RequestError:
    return RequestError("media", f"file {number} of {len(files)}: {problem}")
