"""Noticing that a client has gone: Triton has to be asked, request by request."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .generation import Generation

PERIOD = 0.04  # seconds between two rounds of questions


class CancellationWatch:
    """Asks Triton whether open requests have been cancelled.

    Args:
        cancel: called, from the watch's own thread, with each generation whose client has gone.
    """

    def __init__(self, cancel: Callable[[Generation], None]) -> None:
        self._cancel = cancel
        self._open: set[Generation] = set()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="cancellation", daemon=True)

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

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._open and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                generations = list(self._open)
            for generation in generations:
                if generation.reply.cancelled():
                    self.remove(generation)
                    self._cancel(generation)
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, PERIOD)
