"""What an engine is given of an image or an audio clip, and what is wrong with one that it cannot be given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Medium:
    """kind "image": `data` is a JPEG or PNG file, 8-bit RGB, upright, one frame. kind "audio": a WAV or MP3 file."""

    kind: Literal["image", "audio"]
    data: bytes


class MediaError(Exception):
    """The content cannot be used.

    Args:
        message: a predicate of the content ("is empty").
        code: OpenAI's code of image errors, or ours of the same form for audio.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
