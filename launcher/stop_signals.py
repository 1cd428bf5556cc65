"""SIGINT, SIGTERM and SIGHUP while `tritongate serve` sets up and tears down."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Stop(BaseException):
    """Somebody asked the process to end. Not an `Exception`: nothing on the way may take it for a failure."""


class StopSignals:
    """Makes a request to stop raise `Stop`, once; what a request does instead can be said for a stretch of code.

    Once `Stop` was raised, further requests only call what `calling` names, so that tidying up is never broken
    off half way. A terminal that is closed (SIGHUP) counts as SIGTERM. Main thread only.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._action: Callable[[], None] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        for number in STOPPING:
            self._before[number] = signal.signal(number, self._on_stop)
        # Sent on, so that whoever handles SIGTERM at that moment (the HTTP server, too) gets it.
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def calling(self, action: Callable[[], None]) -> Iterator[None]:
        """Within the block a request to stop calls `action`, in the main thread, and raises nothing.

        Raises:
            Stop: at the end of the block, if a request came meanwhile; then a failure in the block is its result.
        """
        already = self.stopping
        before, self._action = self._action, action
        try:
            yield
        except Exception:
            if already or not self.stopping:
                raise
        finally:
            self._action = before
        if self.stopping and not already:
            raise Stop

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        first, self.stopping = not self.stopping, True
        if self._action is not None:
            self._action()
        elif first:
            raise Stop
