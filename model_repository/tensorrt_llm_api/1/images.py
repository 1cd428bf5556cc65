"""The images of a request: encoded files become what the LLM API takes, with Pillow, which comes with TensorRT-LLM."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from .image_header import MAX_PIXELS, image_size
from .request import RequestError

MAX_PIXELS_TOGETHER = 256_000_000  # of all images of a request: they are in memory at the same time
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # those whose header tells the size before anything is decoded


def decoded(files: Sequence[bytes]) -> list[Any]:
    """PIL images, RGB; of a file with several frames the first.

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
            raise _refusal(number, files, f"not an image that can be read: {error}") from None
    return images


def _decode(data: bytes, size: tuple[int, int] | None) -> Any:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.size != size:  # another decoder than the header was read for
            raise ValueError(f"its header speaks of {size}, its content of {image.size}")
        return image.convert("RGB")


def _refusal(number: int, files: Sequence[bytes], problem: str) -> RequestError:
    return RequestError("media", f"file {number} of {len(files)}: {problem}")
