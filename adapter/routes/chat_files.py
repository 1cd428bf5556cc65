"""Files in chat messages: read before the prompt is made, as a model is shown their text."""

from __future__ import annotations

from collections.abc import Sequence

from adapter.media.budget import MediaBudget
from adapter.media.file_source import FileContent, file_source
from adapter.media.loader import MediaLoader
from adapter.schema.chat_messages import FilePart, Message, TextPart


async def read_chat_files(
    messages: Sequence[Message], loader: MediaLoader, budget: MediaBudget, file_content: FileContent | None = None
) -> list[Message]:
    """The messages with text in place of each file.

    Args:
        budget: of the request; its images and audio are loaded with the same one.
        file_content: where a `file_id` leads; None: nowhere.

    Raises:
        APIError: 400, naming the part whose file cannot be used.
    """
    sources = [
        file_source(part.file.model_dump(), f"messages[{at}].content[{index}].file")
        for at, message in enumerate(messages)
        if isinstance(message.content, list)
        for index, part in enumerate(message.content)
        if isinstance(part, FilePart)
    ]
    if not sources:
        return list(messages)
    texts = iter(await loader.files(sources, budget, file_content))
    read: list[Message] = []
    for message in messages:
        if isinstance(message.content, list):
            content = [
                TextPart(type="text", text=next(texts)) if isinstance(part, FilePart) else part
                for part in message.content
            ]
            message = message.model_copy(update={"content": content})
        read.append(message)
    return read
