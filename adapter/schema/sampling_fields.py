"""Types of the fields that say how to generate, shared by the bodies that have them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

MOST_CHOICES = 128
_MOST_STOPS = 16
_MOST_BAD_WORDS = 64

Penalty = Annotated[float, Field(ge=-2, le=2)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Temperature = Annotated[float, Field(ge=0, le=2)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Choices = Annotated[int, Field(ge=1, le=MOST_CHOICES)]
StopString = Annotated[str, Field(min_length=1, max_length=1024)]
Stop = StopString | Annotated[list[StopString], Field(max_length=_MOST_STOPS, fail_fast=True)]

# Extensions, named as vLLM and TensorRT-LLM name them. A top_k of 0 or -1 is no limit.
TopK = Annotated[int, Field(ge=-1, le=2**31 - 1)]
RepetitionPenalty = Annotated[float, Field(gt=0, le=10)]
MinTokens = Annotated[int, Field(ge=0, le=2**31 - 1)]
BadWords = Annotated[list[StopString], Field(max_length=_MOST_BAD_WORDS, fail_fast=True)]


def strings_of(stop: str | list[str] | None) -> tuple[str, ...]:
    """`stop` in one form."""
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)
