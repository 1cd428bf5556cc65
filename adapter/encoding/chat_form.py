"""What the two wire forms of a chat completion have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adapter.generation.events import Finish, ToolCallStart


@dataclass(frozen=True)
class ChatForm:
    """How the answers of one request are written.

    logprobs: they were asked for.
    legacy_function: the request used `functions`: a call is a `function_call`, and there is one at most.
    reasoning_field: the name under which reasoning is shown.
    service_tier: as the request has it, if it has one.
    """

    logprobs: bool = False
    legacy_function: bool = False
    reasoning_field: str = "reasoning_content"
    service_tier: str | None = None

    def finish_reason(self, finish: Finish) -> str:
        return "function_call" if self.legacy_function and finish.reason == "tool_calls" else finish.reason

    def envelope(self) -> dict[str, Any]:
        """Fields of the object beside those that every answer has."""
        return {} if self.service_tier is None else {"service_tier": self.service_tier}


def tool_call(start: ToolCallStart, text: str) -> dict[str, Any]:
    """A call as an item of `tool_calls`; `text` is its arguments, or a custom tool's input."""
    if start.custom:
        return {"id": start.id, "type": "custom", "custom": {"name": start.name, "input": text}}
    return {"id": start.id, "type": "function", "function": {"name": start.name, "arguments": text}}
