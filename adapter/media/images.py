"""An image file of a client, made into one that any engine reads.

The pixels are always written anew: llama.cpp decodes with stb_image and TensorRT-LLM with others, which take different
formats and are not hardened. So all that an engine's decoder ever sees is what our own encoder wrote: no metadata, no
second frame, nothing that is hidden behind the image.
"""

from __future__ import annotations

import io
import warnings
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from adapter.media.medium import MediaError
from adapter.media.sniff import sniff_image

Detail = Literal["auto", "low", "high"]

_LOW_EDGE = 512  # OpenAI's description of `detail: low`
_PILLOW_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
}
IMAGE_TYPES = tuple(_PILLOW_FORMATS)
_TAKEN = "PNG, JPEG, GIF, WebP and BMP"
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-bmp": "image/bmp",
    "image/x-ms-bmp": "image/bmp",
}
_NO_CLAIM = frozenset({"application/octet-stream", "binary/octet-stream"})
# Each scan of a progressive JPEG passes over the whole image: a small file can hold thousands; real ones hold ten.
_MOST_SCANS = 100
_JPEG_QUALITY = 95

# Pillow warns of images that are refused here anyway, by the limit that is set.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def check_declared(declared: str | None, content: bytes, *, by_server: bool) -> None:
    """Holds a declared media type against the content.

    Args:
        declared: type as of `DataURL` or `Fetched`.
        by_server: a web server declared it, not the client. Then any image type will do, as for browsers: the client
            cannot mend it.

    Raises:
        MediaError: the type is not of an image, or of another one.
    """
    if declared in _NO_CLAIM or (declared is None and by_server):
        return
    if declared is None or not declared.startswith("image/"):
        named = f"of the type {declared[:80]}" if declared else "of no declared type"
        raise MediaError(f"is {named}, and not an image ({_TAKEN} are taken)", "unsupported_image_media_type")
    found = sniff_image(content)
    if not by_server and found is not None and _ALIASES.get(declared, declared) != found:
        raise MediaError(f"is declared as {declared[:80]}, but its content is {found}", "invalid_image_format")


def normalized_image(content: bytes, detail: Detail, most_pixels: int, longest_edge: int) -> bytes:
    """The first frame, upright, as 8-bit RGB on white, written as JPEG if it was one, otherwise as PNG.

    Args:
        content: a file in one of the five formats.
        detail: `low` scales down to at most 512 by 512.
        most_pixels: width times height, looked at before anything is decoded.
        longest_edge: pixels; longer images are scaled down.

    Raises:
        MediaError: the content is not such an image.
    """
    if not content:
        raise MediaError("is empty", "empty_image_file")
    found = sniff_image(content)
    if found not in _PILLOW_FORMATS:
        what = f"is of the format {found}" if found else "is no image of a known format"
        raise MediaError(f"{what} ({_TAKEN} are taken)", "invalid_image_format")
    if found == "image/jpeg" and content.count(b"\xff\xda") > _MOST_SCANS:
        raise MediaError("cannot be decoded: it has too many scans", "image_parse_error")
    edge = min(longest_edge, _LOW_EDGE) if detail == "low" else longest_edge
    image = _decoded(content, _PILLOW_FORMATS[found], most_pixels, edge)
    if max(image.size) > edge:
        image.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    if found == "image/jpeg":
        image.save(written, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    else:
        image.save(written, "PNG", compress_level=1)
    return written.getvalue()


def _decoded(content: bytes, format: str, most_pixels: int, edge: int) -> Image.Image:
    # Pillow's decoders tell of a broken file by exceptions of many classes, not only its own.
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=[format])
    except Image.DecompressionBombError:
        raise _too_many_pixels(most_pixels) from None
    except Exception as error:
        raise MediaError(f"is no readable {format} file", "image_parse_error") from error
    with image:
        if image.width * image.height > most_pixels:
            raise _too_many_pixels(most_pixels)
        try:
            image.draft("RGB", (edge, edge))  # JPEG: decodes at a half, a quarter or an eighth if that is still enough
            image.load()
            return _on_white(_eight_bits(ImageOps.exif_transpose(image)))
        except Exception as error:
            raise MediaError("is broken or cut off: it cannot be decoded", "image_parse_error") from error


def _too_many_pixels(most: int) -> MediaError:
    return MediaError(f"has more than {most:,} pixels", "image_too_large")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey is scaled; Pillow's own conversion would cut it off at 255."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8), "L")


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
