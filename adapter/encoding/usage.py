"""The `usage` object of chat completions and completions."""

from __future__ import annotations

from typing import Any

from adapter.generation.events import Finish


def running_usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """The counts while answers are under way."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def total_usage(prompt_tokens: int, finishes: list[Finish], *, prompts: int = 1) -> dict[str, Any]:
    """Exact counts over all answers of a request; details only where the engine, or the model, says anything.

    Args:
        prompt_tokens: each prompt counted once. What was cached is that of a prompt's first answer, which met the
            cache as it was before the request.
        finishes: those of one prompt side by side.
        prompts: how many different prompts there are.
    """
    usage = running_usage(prompt_tokens, sum(finish.completion_tokens for finish in finishes))
    if finishes[0].cached_tokens is not None:
        firsts = finishes[:: len(finishes) // prompts]
        usage["prompt_tokens_details"] = {"cached_tokens": sum(finish.cached_tokens or 0 for finish in firsts)}
    if finishes[0].reasoning_tokens is not None:
        reasoning = sum(finish.reasoning_tokens or 0 for finish in finishes)
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage
