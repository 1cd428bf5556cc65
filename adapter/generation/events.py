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
class ReasoningDelta:
    """Text of what the model thinks before it answers; `completion_tokens` as of TextDelta."""

    text: str
    completion_tokens: int


@dataclass(slots=True)
class ToolCallStart:
    """The model calls a tool. `index` counts the calls of one answer from 0.

    custom: the tool is one of type `custom`: its input is plain text, not JSON arguments.
    """

    index: int
    id: str
    name: str
    custom: bool
    completion_tokens: int


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of the arguments (JSON text), or of a custom tool's input, of the call that has begun last."""

    index: int
    text: str
    completion_tokens: int


@dataclass(slots=True)
class ToolCallEnd:
    """The call is complete."""

    index: int


@dataclass(slots=True)
class PromptLogprobs:
    """Of the prompt's tokens, the first of which has none (its logarithm is 0); before anything else."""

    logprobs: list[TokenLogprob]


@dataclass(slots=True)
class Finish:
    """The answer is complete.

    reason: OpenAI's `finish_reason`: `stop`, `length` or `tool_calls`.
    cached_tokens: prompt tokens that the engine did not compute anew; None if it does not say.
    reasoning_tokens: generated tokens that were reasoning; None for a model that has none.
    logprobs: of generated tokens of which no text was shown, such as the end token; None unless they were asked for.
    """

    reason: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    logprobs: list[TokenLogprob] | None = None


Event = TextDelta | ReasoningDelta | ToolCallStart | ToolCallDelta | ToolCallEnd | PromptLogprobs | Finish
