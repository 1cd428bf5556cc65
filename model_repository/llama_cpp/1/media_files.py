"""The encoded images and recordings of a request, as its tensors hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .request import RequestError

MAX_MEDIA = 32
MAX_BYTES = 20_000_000  # of one encoded file
MAX_WAITING_BYTES = 1_000_000_000  # of all requests whose files are not yet read


def read_media(tensors: Mapping[str, np.ndarray], places: Sequence[int]) -> list[bytes]:
    """The encoded files of a request, in order.

    Args:
        tensors: input tensors by name; `media` is a row of byte strings.
        places: of the media in the prompt.
    Raises:
        RequestError: not as many as places, too many, or one is empty or too large.
    """
    tensor = tensors.get("media")
    media = [] if tensor is None else list(tensor.reshape(-1))
    if len(media) != len(places):
        raise RequestError("media", f"{len(media)} files for the {len(places)} places (-1) in input_ids")
    if len(media) > MAX_MEDIA:
        raise RequestError("media", f"at most {MAX_MEDIA} files, not {len(media)}")
    for number, data in enumerate(media, 1):
        if not data:
            raise RequestError("media", f"file {number} is empty")
        if len(data) > MAX_BYTES:
            raise RequestError("media", f"file {number} has {len(data)} bytes; at most {MAX_BYTES} are taken")
    return media
