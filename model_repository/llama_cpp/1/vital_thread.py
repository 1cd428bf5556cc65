"""A thread whose end, other than by its own return, is the end of the model."""

from __future__ import annotations

import threading
from collections.abc import Callable


class VitalThread(threading.Thread):
    """Runs `run_until_stopped`; what escapes it goes to `died`, which is not expected to return.

    Args:
        died: called in this thread with a description of what happened, for the log and for whoever waits.
    """

    def __init__(self, run_until_stopped: Callable[[], None], name: str, died: Callable[[str], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._run_until_stopped = run_until_stopped
        self._died = died

    def run(self) -> None:
        try:
            self._run_until_stopped()
        except BaseException as error:
            # Also SystemExit, and the panics of Rust code, which are no Exception: a thread that ends in silence
            # leaves a model that takes requests and never answers.
            self._died(f"the thread {self.name} ended with {error!r}")
