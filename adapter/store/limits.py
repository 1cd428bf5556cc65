"""How much the store keeps, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adapter.store.errors import RecordTooLarge


@dataclass(frozen=True)
class Limits:
    """
    ttl: seconds that a record is kept after it was last changed (files, vector stores and conversations: used).
    max_bytes: of all records together.
    max_record_bytes: of one response, chat completion, conversation or file.
    clock: Unix seconds. The clocks of processes that share a database must agree to about a second.
    """

    ttl: float
    max_bytes: int
    max_record_bytes: int
    clock: Callable[[], float]

    @property
    def oldest(self) -> float:
        """Whatever was last used at this time, or before, has expired."""
        return self.clock() - self.ttl

    def check(self, what: str, size: int) -> None:
        """Raises RecordTooLarge. `what` begins the message: "The response"."""
        if size > self.max_record_bytes:
            raise RecordTooLarge(what, size, self.max_record_bytes)

    def use_again(self, used_at: float) -> bool:
        """Whether a use is worth being noted: one that is read often is not written as often."""
        return self.clock() - used_at > self.ttl / 64
