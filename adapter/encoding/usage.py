"""The `usage` object of chat completions."""

from __future__ import annotations

from typing import Any

from adapter.generation.events import Finish


def usage_object(finish: Finish) -> dict[str, Any]:
    """Exact counts; `prompt_tokens_details` only when the engine says how much of the prompt was cached."""
    usage: dict[str, Any] = {
        "prompt_tokens": finish.prompt_tokens,
        "completion_tokens": finish.completion_tokens,
        "total_tokens": finish.prompt_tokens + finish.completion_tokens,
    }
    if finish.cached_tokens is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": finish.cached_tokens}
    return usage
