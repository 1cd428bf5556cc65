"""The sequences of the KV cache, who gets which, and whose prompt is read next."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .generation import Generation


class Slot:
    """One sequence of the KV cache.

    tokens      int32 [context]; the first `length` are those in the cache
    scope       whose tokens they are: only requests of the same `prompt_scope` start from them
    shift       what media's positions run ahead of their tokens: the next token's position is `length + shift`
    aligned     leading tokens that were computed as whole pieces of prompt, each by itself: the part of the cache
                that comes out the same, bit for bit, however often it is computed
    """

    def __init__(self, index: int, context_length: int) -> None:
        self.index = index
        self.tokens = np.zeros(context_length, dtype=np.int32)
        self.scope = (0, b"")
        self.length = 0
        self.shift = 0
        self.aligned = 0
        self.last_used = 0
        self.arrival = 0
        self.generation: Generation | None = None
        self.pending: int | None = None  # the newest token of the answer, not yet in the cache

    def common_prefix(self, prompt: np.ndarray, scope: tuple[int, bytes]) -> int:
        if scope != self.scope:
            return 0
        count = min(self.length, len(prompt))
        differ = self.tokens[:count] != prompt[:count]
        return int(differ.argmax()) if differ.any() else count

    def cut(self, length: int, piece: int) -> None:
        self.length = length
        if not length:
            self.shift = 0
        self.aligned = min(self.aligned, length // piece * piece)

    @property
    def lora_task(self) -> int:
        """Task id of the adapter that its tokens are computed with; 0: none."""
        return self.scope[0]

    @property
    def unread(self) -> int:
        """Tokens of the prompt that are not yet computed; 0 while the slot is free or its answer is being written."""
        if self.generation is None or self.pending is not None:
            return 0
        return self.generation.prompt_length - self.length


class ReadingOrder:
    """Whose prompt the next piece is taken from.

    The prompt nearest its end goes first, so that a short one does not wait for a long one. Every second piece goes to
    the one that came first, so that short ones in any number do not keep a long one waiting for ever.
    """

    def __init__(self) -> None:
        self._overtaken = False

    def next(self, slots: Iterable[Slot]) -> Slot | None:
        waiting = [slot for slot in slots if slot.unread]
        if not waiting:
            return None
        oldest = min(waiting, key=lambda slot: slot.arrival)
        nearest = min(waiting, key=lambda slot: (slot.unread, slot.arrival))
        chosen = oldest if self._overtaken else nearest
        self._overtaken = chosen is not oldest
        return chosen
