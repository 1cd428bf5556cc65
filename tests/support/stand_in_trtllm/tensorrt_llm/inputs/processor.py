"""The input processor of a model that takes images: a text and its images become token ids."""

from __future__ import annotations

import itertools
import re
from typing import Any

from .utils import retrieve_multimodal_placeholder

IMAGE_TOKEN = 49151  # stands in the prompt for a patch
PATCH = 28  # pixels


class ImageProcessor:
    """As transformers' processors do it: each mark in the text becomes as many tokens as its image has patches."""

    def __init__(self, model_type: str, tokenizer: Any) -> None:
        mark = retrieve_multimodal_placeholder(model_type, "image", 777) or ""
        self._mark = re.compile(re.escape(mark).replace("777", "[0-9]+"))
        self._tokenizer = tokenizer

    def ids(self, text: str, images: list[Any]) -> list[int]:
        pieces = self._mark.split(text)
        made = self._tokenizer.encode(pieces[0], add_special_tokens=False)
        for index, piece in enumerate(pieces[1:]):
            width, height = images[index].size  # IndexError: more marks than images
            made += [IMAGE_TOKEN] * (-(-width // PATCH) * -(-height // PATCH))
            made += self._tokenizer.encode(piece, add_special_tokens=False)
        if len(pieces) - 1 != len(images):
            raise ValueError("Image features and image tokens do not match")
        return made

    def texts(self, ids: list[int]) -> list[str]:
        """What stands before, between and behind the images; for the log."""
        runs = itertools.groupby(ids, IMAGE_TOKEN.__ne__)
        return [self._tokenizer.decode(list(run)) for is_text, run in runs if is_text]


def described(image: Any) -> dict[str, Any]:
    """For the log: enough to know an image by."""
    width, height = image.size
    corners = [image.getpixel((0, 0)), image.getpixel((width - 1, height - 1))]
    return {"size": [width, height], "mode": image.mode, "corners": corners}
