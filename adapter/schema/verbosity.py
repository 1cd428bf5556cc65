"""`verbosity`: how long an answer should be. Open models know no such setting: they are told in words."""

from __future__ import annotations

from typing import Literal

Verbosity = Literal["low", "medium", "high"]

_INSTRUCTIONS = {
    "low": "Answer as briefly as possible.",
    "high": "Answer at length and in detail.",
}


def verbosity_instruction(verbosity: Verbosity | None) -> str | None:
    """The sentence for the system message; None: nothing is said."""
    return _INSTRUCTIONS.get(verbosity or "medium")
