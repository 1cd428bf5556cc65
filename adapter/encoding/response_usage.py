"""The `usage` object of responses: the sum over all turns of the model."""

from __future__ import annotations

from typing import Any

from adapter.generation.events import Finish


class ResponseUsage:
    """`done`: tokens generated so far in the turn under way."""

    __slots__ = ("_cached", "_input", "_output", "_reasoning", "done")

    def __init__(self) -> None:
        self._input = 0
        self._cached = 0
        self._output = 0
        self._reasoning = 0
        self.done = 0

    def begin_turn(self, prompt_tokens: int) -> None:
        self._input += prompt_tokens

    def end_turn(self, finish: Finish) -> None:
        self._output += finish.completion_tokens
        self._cached += finish.cached_tokens or 0
        self._reasoning += finish.reasoning_tokens or 0
        self.done = 0

    def body(self) -> dict[str, Any] | None:
        """None before the first turn. A turn that was broken off counts with what it generated."""
        if not self._input:
            return None
        output = self._output + self.done
        return {
            "input_tokens": self._input,
            # What an engine writes into its cache it does not say; OpenAI's type wants a count.
            "input_tokens_details": {"cached_tokens": self._cached, "cache_write_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": self._reasoning},
            "total_tokens": self._input + output,
        }
