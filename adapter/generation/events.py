"""What a generation yields. Every wire form, streamed or not, is made of these and of nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TokenLogprob:
    """The natural logarithm of a generated token's probability, and its best alternatives as (id, logarithm)."""

    token_id: int
    logprob: float
    top: list[tuple[int, float]]


@dataclass(slots=True)
class TextDelta:
    """Text that is certain to be part of the answer.

    completion_tokens: tokens generated so far, those still held back included.
    logprobs: of the tokens whose text begins in this delta; None unless they were asked for.
    """

    text: str
    completion_tokens: int
    logprobs: list[TokenLogprob] | None = None


@dataclass(slots=True)
class Finish:
    """The answer is complete.

    reason: OpenAI's `finish_reason`, `stop` or `length`.
    cached_tokens: prompt tokens that the engine did not compute anew; None if it does not say.
    """

    reason: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None


Event = TextDelta | Finish
