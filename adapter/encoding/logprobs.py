"""The `logprobs` object of chat completions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adapter.generation.events import TokenLogprob
from tokentext import TextTokenizer

# OpenAI's stand-in for the logarithm of a probability of zero, which JSON cannot hold.
_LOWEST = -9999.0


def logprobs_content(tokenizer: TextTokenizer, logprobs: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """The `content` list: per token its text, bytes, logarithm and alternatives."""
    return [
        {
            **_token(tokenizer, logprob.token_id, logprob.logprob),
            "top_logprobs": [_token(tokenizer, token_id, value) for token_id, value in logprob.top],
        }
        for logprob in logprobs
    ]


def _token(tokenizer: TextTokenizer, token_id: int, logprob: float) -> dict[str, Any]:
    data = tokenizer.token_bytes(token_id)
    return {
        # A token may hold a part of a character: its exact content is in `bytes`.
        "token": data.decode("utf-8", "replace"),
        "logprob": logprob if logprob > _LOWEST else _LOWEST,  # not a number is no better
        "bytes": list(data),
    }
