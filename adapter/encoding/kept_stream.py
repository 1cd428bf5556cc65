"""A stream that is folded while it is sent, so that it can be kept as the object that it comes to."""

from __future__ import annotations

from adapter.encoding.chat_chunks import ChatChunkEncoder
from adapter.encoding.chat_completion import ChatCompletionFold
from adapter.generation.events import Event


class KeptStream:
    """Encodes as `encoder` does, and shows every event to `fold`."""

    def __init__(self, encoder: ChatChunkEncoder, fold: ChatCompletionFold) -> None:
        self._encoder = encoder
        self._fold = fold

    def start(self, prompt_tokens: int) -> bytes:
        return self._encoder.start(prompt_tokens)

    def encode(self, index: int, item: Event) -> bytes:
        self._fold.add(index, item)
        return self._encoder.encode(index, item)

    def end(self) -> bytes:
        return self._encoder.end()
