"""Conversations as gpt-oss's chat template takes them.

The template writes one system message, at the beginning; of an assistant's message one call, and its reasoning
(`thinking`) or its content, not both; and it names a tool's result after the last call before it. Source: the chat
template of gpt-oss-120b. What it would leave out is put where it writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]


def harmony_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The same conversation: all system messages in one, and each call in a message with its result after it.

    Args:
        messages: as chat templates take them; reasoning is in `reasoning_content`.
    """
    system = [message["content"] for message in messages if message["role"] == "system" and message["content"]]
    written: list[dict[str, Any]] = [{"role": "system", "content": "\n\n".join(system)}] if system else []
    rest = [message for message in messages if message["role"] != "system"]
    at = 0
    while at < len(rest):
        message = rest[at]
        at += 1
        if message["role"] != "assistant":
            written.append(dict(message))
            continue
        end = at
        while end < len(rest) and rest[end]["role"] == "tool":
            end += 1
        written += _turn(message, rest[at:end])
        at = end
    return written


def _turn(message: Message, results: Sequence[Message]) -> list[dict[str, Any]]:
    """An assistant's message and the results that follow it."""
    said = {key: value for key, value in message.items() if key not in ("reasoning_content", "tool_calls")}
    thinking = message.get("reasoning_content")
    calls = message.get("tool_calls")
    if thinking:
        said["thinking"] = thinking
    if not calls:
        return [said, *map(dict, results)]
    if thinking and said["content"]:
        said["thinking"], said["content"] = f"{thinking}\n\n{said['content']}", ""
    left = [dict(result) for result in results]
    written: list[dict[str, Any]] = []
    for call in calls:
        written.append({**said, "tool_calls": [call]})
        said = {"role": "assistant", "content": ""}
        found = next((at for at, result in enumerate(left) if result.get("tool_call_id") == call.get("id")), None)
        if found is not None:
            written.append(left.pop(found))
    return written + left
