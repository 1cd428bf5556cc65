"""The thread that computes: continuous batching of several answers over one llama.cpp context.

Every round computes one token for each answer that is being written, and one piece of one prompt that is not yet read.
A slot keeps its tokens when its answer ends; the next prompt of the same scope that begins alike starts from there.
Prompts with media begin in an empty slot and leave it empty.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from .generation import CANCELLED, LENGTH, Generation, GenerationError, Token
from .llama import Context
from .llama_library import LlamaError
from .lora import LoraAdapters
from .multimodal import Part, TokenPart
from .prompt_scores import PIECE as SCORED_PIECE
from .request import QueueFull
from .slots import ReadingOrder, Slot
from .vital_thread import VitalThread


class Receiver(Protocol):
    """Takes what the engine produces. Called from the engine's thread and from that of `Engine.cancel`."""

    def token(self, generation: Generation, token: Token) -> None: ...

    def finish(self, generation: Generation, reason: str) -> None: ...

    def fail(self, generation: Generation, message: str, internal: bool) -> None: ...


class Engine:
    """Runs generations on the slots of a context.

    Args:
        piece: most prompt tokens computed in one go.
        queue_size: generations that may wait for a slot.
        receiver: where tokens go.
        died: called, from the engine's thread, when it cannot go on; says why. Nothing is computed any more.
        adapters: those that requests may name; None: there are none.
    """

    def __init__(
        self,
        context: Context,
        *,
        slots: int,
        context_length: int,
        piece: int,
        queue_size: int,
        receiver: Receiver,
        died: Callable[[str], None],
        adapters: LoraAdapters | None = None,
    ) -> None:
        self._context = context
        self._adapters = adapters
        self._piece = min(piece, context.batch_size)
        self._receiver = receiver
        self._slots = [Slot(index, context_length) for index in range(slots)]
        self._capacity = slots + queue_size
        self._waiting: deque[Generation] = deque()
        self._open = 0  # reserved, waiting or in a slot
        self._reading: Generation | None = None  # whose prompt llama.cpp computes at this moment
        self._reading_order = ReadingOrder()
        self._rounds = 0
        self._arrivals = 0
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = VitalThread(self._run, "llama-engine", died)

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
            # So is one of another adapter: a batch is computed with one.
            shared: dict[int, list[Slot]] = {}
            for slot in writing:
                if slot.generation is not None and not slot.generation.reproducible:
                    shared.setdefault(slot.lora_task, []).append(slot)
            for together in shared.values():
                self._write(together)
            for slot in writing:
                if slot.generation is not None and slot.generation.reproducible:
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
        request, prompt = generation.request, generation.request.prompt
        media = generation.media_pieces is not None

        def useful(slot: Slot) -> int:
            return 0 if media else slot.common_prefix(prompt, request.prompt_scope)

        slot = max(free, key=lambda slot: (useful(slot), -slot.last_used))
        free.remove(slot)
        # The last token is always computed anew: its logits are needed. Scores need those of all tokens.
        reusable = min(useful(slot), len(prompt) - 1)
        if generation.reproducible:
            reusable = min(reusable, slot.aligned) // self._piece * self._piece
        if generation.prompt_scores is not None:
            reusable = 0
        if not self._context.keep(slot.index, reusable):
            reusable = 0
        slot.cut(reusable, self._piece)
        slot.scope = request.prompt_scope
        if not media:
            slot.tokens[reusable : len(prompt)] = prompt[reusable:]
        slot.generation, slot.pending = generation, None
        self._arrivals += 1
        slot.arrival = self._arrivals
        generation.cached_tokens = reusable

    def _read(self) -> None:
        """Computes one piece of one prompt."""
        slot = self._reading_order.next(self._slots)
        if slot is None:
            return
        generation = slot.generation
        assert generation is not None
        start = slot.length
        with self._changed:
            if generation.cancelled or self._stopping:
                return
            self._reading = generation
        try:
            self._use_adapter(slot)
            media = generation.media_pieces
            end = self._read_tokens(slot, generation) if media is None else self._read_part(slot, media)
        except LlamaError as error:
            self._lost([slot], error)
            return
        finally:
            with self._changed:
                self._reading = None
                self._context.abort.clear()
        if end == start:  # broken off
            return
        slot.length = end
        if start == slot.aligned and end % self._piece == 0:
            slot.aligned = end
        if end < generation.prompt_length:
            return
        if generation.request.output_length:
            self._take_token(slot, end - start - 1)
        else:
            self._release(slot, CANCELLED if generation.cancelled else LENGTH)

    def _read_tokens(self, slot: Slot, generation: Generation) -> int:
        """Computes one piece of a prompt without media; returns how far it has now been read."""
        scores = generation.prompt_scores
        start, total = slot.length, generation.prompt_length
        # Pieces end at multiples of the piece's length, so that they are the same ones next time.
        piece = self._piece if scores is None else min(self._piece, SCORED_PIECE)
        end = min(total, (start // piece + 1) * piece)
        first_output = 0 if scores is not None else end - start - (end == total)
        if not self._context.prefill(slot.index, slot.tokens[start:end], start, first_output):
            return start
        if scores is not None:
            scores.take(start, end, self._context.logits)
        return end

    def _read_part(self, slot: Slot, pieces: deque[Part]) -> int:
        """Computes one part of a prompt with media; returns how far it has now been read."""
        part, last = pieces[0], len(pieces) == 1
        position = slot.length + slot.shift
        if isinstance(part, TokenPart):
            done = self._context.prefill(slot.index, part.tokens, position, part.count - last)
        else:
            assert part.embeddings is not None
            places = part.positions + position
            causal = not part.non_causal
            done = self._context.prefill_embeddings(slot.index, part.embeddings, places, causal=causal, last=last)
        if not done:
            return slot.length
        pieces.popleft()
        slot.shift += part.advance - part.count
        return slot.length + part.count

    def _write(self, slots: list[Slot]) -> None:
        """Computes the next token of every answer of `slots`, all of one adapter, in one batch."""
        try:
            self._use_adapter(slots[0])
            self._context.step((slot.index, slot.pending or 0, slot.length + slot.shift) for slot in slots)
        except LlamaError as error:
            self._lost(slots, error)
            return
        for row, slot in enumerate(slots):
            slot.tokens[slot.length] = slot.pending
            slot.length += 1
            self._take_token(slot, row)

    def _use_adapter(self, slot: Slot) -> None:
        if self._adapters is not None:
            self._adapters.use(self._context, slot.lora_task)

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
        except BaseException as error:  # a panic of the guide's Rust code is no Exception; it costs this answer alone
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
        media = slot.generation is not None and slot.generation.media_pieces is not None
        slot.generation, slot.pending = None, None
        slot.last_used = self._rounds
        if media:
            self._context.keep(slot.index, 0)
            slot.cut(0, self._piece)
            slot.last_used = -1  # nothing is lost with it
        with self._changed:
            self._open -= 1

    def _lost(self, slots: list[Slot], error: BaseException) -> None:
        """llama.cpp failed: nobody knows what is in the cache of these slots."""
        for slot in slots:
            generation = slot.generation
            assert generation is not None
            self._context.keep(slot.index, 0)
            slot.cut(0, self._piece)
            self._free(slot)
            self._receiver.fail(generation, str(error), internal=True)
