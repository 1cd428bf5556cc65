"""Messages with one more instruction of the server's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def instructed(messages: Sequence[Mapping[str, Any]], instruction: str | None) -> list[Mapping[str, Any]]:
    """The template's messages, with the instruction at the end of the first system message, which may be a new one."""
    if instruction is None:
        return list(messages)
    if messages and messages[0]["role"] == "system":
        content = "\n\n".join(text for text in (messages[0]["content"], instruction) if text)
        return [{**messages[0], "content": content}, *messages[1:]]
    return [{"role": "system", "content": instruction}, *messages]
