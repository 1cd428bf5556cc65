"""Noticing that a client has gone: Triton has to be asked, request by request."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .generation import Generation
from .vital_thread import VitalThread

# Seconds between two rounds of questions. A client may go right after it was asked about, and a round, the end of the
# gRPC stream and the engine take their time too: together within 50 ms. A question takes some 30 us.
PERIOD = 0.02


class CancellationWatch:
    """Asks Triton whether open requests have been cancelled.

    Args:
        cancel: called, from the watch's own thread, with each generation whose client has gone.
        died: called, from the same thread, when it cannot go on; says why.
    """

    def __init__(self, cancel: Callable[[Generation], None], died: Callable[[str], None]) -> None:
        self._cancel = cancel
        self._open: set[Generation] = set()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = VitalThread(self._run, "cancellation", died)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def add(self, generation: Generation) -> None:
        with self._changed:
            self._open.add(generation)
            self._changed.notify()

    def remove(self, generation: Generation) -> None:
        with self._changed:
            self._open.discard(generation)

    def open(self) -> list[Generation]:
        """The generations that have not had their last response."""
        with self._changed:
            return list(self._open)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._open and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                generations = list(self._open)
            for generation in generations:
                if not generation.cancelled and generation.reply.cancelled():
                    self._cancel(generation)
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, PERIOD)
