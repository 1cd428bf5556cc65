"""The thread that computes: continuous batching of several answers over one llama.cpp context.

Every round computes one token for each answer that is being written, and one piece of one prompt that is not yet read.
A slot keeps its tokens when its answer ends; the next prompt that begins alike starts from there.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Protocol

import numpy as np

from .generation import CANCELLED, Generation, GenerationError, Token
from .llama import Context, LlamaError


class QueueFull(Exception):
    """All slots are taken and so is every place in the queue."""


class Receiver(Protocol):
    """Takes what the engine produces. Called from the engine's thread and from that of `Engine.cancel`."""

    def token(self, generation: Generation, token: Token) -> None: ...

    def finish(self, generation: Generation, reason: str) -> None: ...

    def fail(self, generation: Generation, message: str, internal: bool) -> None: ...


class Slot:
    """One sequence of the KV cache.

    tokens      int32 [context]; the first `length` are those in the cache
    aligned     leading tokens that were computed as whole pieces of prompt, each by itself: the part of the cache
                that comes out the same, bit for bit, however often it is computed
    """

    def __init__(self, index: int, context_length: int) -> None:
        self.index = index
        self.tokens = np.zeros(context_length, dtype=np.int32)
        self.length = 0
        self.aligned = 0
        self.last_used = 0
        self.arrival = 0
        self.generation: Generation | None = None
        self.pending: int | None = None  # the newest token of the answer, not yet in the cache

    def common_prefix(self, prompt: np.ndarray) -> int:
        count = min(self.length, len(prompt))
        differ = self.tokens[:count] != prompt[:count]
        return int(differ.argmax()) if differ.any() else count

    def cut(self, length: int, piece: int) -> None:
        self.length = length
        self.aligned = min(self.aligned, length // piece * piece)


class Engine:
    """Runs generations on the slots of a context.

    Args:
        piece: most prompt tokens computed in one go.
        queue_size: generations that may wait for a slot.
        receiver: where tokens go.
    """

    def __init__(
        self, context: Context, *, slots: int, context_length: int, piece: int, queue_size: int, receiver: Receiver
    ) -> None:
        self._context = context
        self._piece = min(piece, context.batch_size)
        self._receiver = receiver
        self._slots = [Slot(index, context_length) for index in range(slots)]
        self._capacity = slots + queue_size
        self._waiting: deque[Generation] = deque()
        self._open = 0  # reserved, waiting or in a slot
        self._reading: Generation | None = None  # whose prompt llama.cpp computes at this moment
        self._rounds = 0
        self._arrivals = 0
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="llama-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; what is open is finished as cancelled."""
        with self._changed:
            self._stopping = True
            if self._reading is not None:
                self._context.abort.set()
            self._changed.notify_all()
        self._thread.join()

    def reserve(self) -> None:
        """Takes a place for a generation that `submit` or `release` follows.

        Raises:
            QueueFull: there is none.
        """
        with self._changed:
            if self._stopping or self._open >= self._capacity:
                raise QueueFull(f"all slots and all {self._capacity - len(self._slots)} places in the queue are taken")
            self._open += 1

    def release(self) -> None:
        """Gives back a reserved place."""
        with self._changed:
            self._open -= 1

    def submit(self, generation: Generation) -> None:
        """Queues a generation for which a place is reserved."""
        with self._changed:
            late = self._stopping or generation.cancelled
            if late:
                self._open -= 1
            else:
                self._waiting.append(generation)
                self._changed.notify_all()
        if late:
            self._receiver.finish(generation, CANCELLED)

    def cancel(self, generation: Generation) -> None:
        """Has a generation end as soon as can be; harmless when it has ended."""
        with self._changed:
            generation.cancelled = True
            if generation is self._reading:
                self._context.abort.set()
            waited = generation in self._waiting
            if waited:
                self._waiting.remove(generation)
                self._open -= 1
        if waited:
            self._receiver.finish(generation, CANCELLED)

    def _run(self) -> None:
        while self._admit():
            writing = [slot for slot in self._slots if slot.generation is not None and slot.pending is not None]
            # Batches of another make-up round differently: an answer that must be reproducible is computed alone.
            shared = [slot for slot in writing if slot.generation is not None and not slot.generation.reproducible]
            if shared:
                self._write(shared)
            for slot in writing:
                if slot not in shared:
                    self._write([slot])
            self._read()
            self._rounds += 1
        for slot in self._slots:
            if slot.generation is not None:
                self._release(slot, CANCELLED)
        for generation in self._waiting:
            self._receiver.finish(generation, CANCELLED)

    def _admit(self) -> bool:
        """Gives free slots to those who wait, and takes them from cancelled ones; waits while there is no work."""
        while True:
            for slot in self._slots:
                if slot.generation is not None and slot.generation.cancelled:
                    self._release(slot, CANCELLED)
            with self._changed:
                if self._stopping:
                    return False
                free = [slot for slot in self._slots if slot.generation is None]
                while free and self._waiting:
                    self._occupy(free, self._waiting.popleft())
                if len(free) < len(self._slots):
                    return True
                self._changed.wait()

    def _occupy(self, free: list[Slot], generation: Generation) -> None:
        prompt = generation.request.prompt
        slot = max(free, key=lambda slot: (slot.common_prefix(prompt), -slot.last_used))
        free.remove(slot)
        # The last token is always computed anew: its logits are needed.
        reusable = min(slot.common_prefix(prompt), len(prompt) - 1)
        if generation.reproducible:
            reusable = min(reusable, slot.aligned) // self._piece * self._piece
        if not self._context.keep(slot.index, reusable):
            reusable = 0
        slot.cut(reusable, self._piece)
        slot.tokens[reusable : len(prompt)] = prompt[reusable:]
        slot.generation, slot.pending = generation, None
        self._arrivals += 1
        slot.arrival = self._arrivals
        generation.cached_tokens = reusable

    def _read(self) -> None:
        """Computes one piece of the prompt that has waited longest."""
        unread = [slot for slot in self._slots if slot.generation is not None and slot.pending is None]
        if not unread:
            return
        slot = min(unread, key=lambda slot: slot.arrival)
        generation = slot.generation
        assert generation is not None
        total = len(generation.request.prompt)
        start = slot.length
        # Pieces end at multiples of the piece's length, so that they are the same ones next time.
        end = min(total, (start // self._piece + 1) * self._piece)
        with self._changed:
            if generation.cancelled or self._stopping:
                return
            self._reading = generation
        try:
            done = self._context.prefill(slot.index, slot.tokens[start:end], start, end == total)
        except LlamaError as error:
            self._lost([slot], error)
            return
        finally:
            with self._changed:
                self._reading = None
                self._context.abort.clear()
        if not done:
            return
        slot.length = end
        if start == slot.aligned and end % self._piece == 0:
            slot.aligned = end
        if end == total:
            self._take_token(slot, end - start - 1)

    def _write(self, slots: list[Slot]) -> None:
        """Computes the next token of every answer of `slots` in one batch."""
        try:
            self._context.step((slot.index, slot.pending or 0, slot.length) for slot in slots)
        except LlamaError as error:
            self._lost(slots, error)
            return
        for row, slot in enumerate(slots):
            slot.tokens[slot.length] = slot.pending
            slot.length += 1
            self._take_token(slot, row)

    def _take_token(self, slot: Slot, row: int) -> None:
        generation = slot.generation
        assert generation is not None
        if generation.cancelled:
            self._release(slot, CANCELLED)
            return
        try:
            token, ending = generation.advance(self._context.logits(row))
        except GenerationError as error:
            self._free(slot)
            self._receiver.fail(generation, str(error), internal=False)
            return
        except Exception as error:  # this answer is lost, and no other: nobody else would ever answer them
            self._lost([slot], error)
            return
        slot.pending = token.id
        self._receiver.token(generation, token)
        if ending is not None:
            self._release(slot, ending)

    def _release(self, slot: Slot, reason: str) -> None:
        generation = slot.generation
        assert generation is not None
        self._free(slot)
        self._receiver.finish(generation, reason)

    def _free(self, slot: Slot) -> None:
        slot.generation, slot.pending = None, None
        slot.last_used = self._rounds
        with self._changed:
            self._open -= 1

    def _lost(self, slots: list[Slot], error: Exception) -> None:
        """llama.cpp failed: nobody knows what is in the cache of these slots."""
        for slot in slots:
            generation = slot.generation
            assert generation is not None
            self._context.keep(slot.index, 0)
            slot.cut(0, self._piece)
            self._free(slot)
            self._receiver.fail(generation, str(error), internal=True)
