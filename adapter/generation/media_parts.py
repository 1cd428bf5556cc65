"""Images and audio of a conversation: marked in the text, loaded, and put in their places among the tokens."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Literal

from adapter.errors import invalid_request
from adapter.media.audio import AudioFormat
from adapter.media.budget import MediaBudget
from adapter.media.images import Detail
from adapter.media.loader import MediaLoader
from adapter.media.medium import Medium
from adapter.triton.model import ServedModel
from tokentext import TextTokenizer

_PLACE = -1  # stands in `input_ids` for a medium (docs/model_repository.md)


@dataclass(frozen=True)
class MediaPart:
    """source: an image's URL, or base64 of a clip. form: an image's `detail`, or a clip's `format`."""

    kind: Literal["image", "audio"]
    source: str
    form: str
    place: str


@dataclass
class MediaParts:
    """The media of one request, in their order.

    marker: text that stands for a medium while the template is rendered; drawn, so that nobody can write it.
    """

    kinds: frozenset[str]
    parts: list[MediaPart] = field(default_factory=list)
    marker: str = field(default_factory=lambda: f"<|{secrets.token_hex(16)}|>")

    def add(self, part: MediaPart) -> str:
        """Takes a part in, and returns the text that stands for it."""
        self.parts.append(part)
        return self.marker

    async def load(self, loader: MediaLoader, budget: MediaBudget | None = None) -> list[Medium]:
        """Args:
            budget: of the request, if files have been taken from it before.

        Raises:
            APIError: 400, naming the part that cannot be used.
        """
        budget = budget or loader.budget()
        tasks = [asyncio.ensure_future(self._load(part, loader, budget)) for part in self.parts]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _load(self, part: MediaPart, loader: MediaLoader, budget: MediaBudget) -> Medium:
        if part.kind == "image":
            detail: Detail = part.form  # type: ignore[assignment]
            return await loader.image(part.source, detail, part.place, budget)
        audio_format: AudioFormat = part.form  # type: ignore[assignment]
        return await loader.audio(part.source, audio_format, part.place, budget)

    def encode(self, tokenizer: TextTokenizer, text: str) -> list[int]:
        """Token ids of a prompt, with -1 in the place of each medium.

        Raises:
            APIError: 400, the chat template has left out or doubled one.
        """
        pieces = text.split(self.marker)
        if len(pieces) != len(self.parts) + 1:
            raise invalid_request(
                f"The model's chat template shows {len(pieces) - 1} of {len(self.parts)} images and audio clips here.",
                "messages",
                "unsupported_content_type",
            )
        rows = tokenizer.encode_batch(pieces, add_special_tokens=False)
        ids = list(rows[0])
        for row in rows[1:]:
            ids.append(_PLACE)
            ids += row
        return ids


def media_parts(model: ServedModel) -> MediaParts:
    """An empty collection that takes what the model does."""
    return MediaParts(model.modalities - {"text"} if "media" in model.inputs else frozenset())
