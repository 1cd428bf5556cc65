"""The way back to one client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import triton_python_backend_utils as pb_utils

from .generation import Token

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class Reply:
    """Triton's response sender of one request, and what of the answer is still to be sent.

    Triton crashes when it is asked about cancellation after the last response, and takes no response after it: they
    exclude each other here.

    Args:
        sender: Triton's response sender.
        outputs: names of the outputs that were asked for.
        closed: called once, after the last response.
    """

    def __init__(self, sender: Any, outputs: frozenset[str] = frozenset(), closed: Callable[[], None] | None = None):
        self.outputs = outputs
        self.pending: list[Token] = []
        self.delivered = 0  # tokens of the answer
        self.responded = False
        self.total_log_prob = 0.0
        self.queued = False
        self.reason: str | None = None
        self.error: Any = None
        self._sender = sender
        self._closed = closed
        self._open = True
        self._lock = threading.Lock()

    def send(self, tensors: list[Any]) -> None:
        """A response that others follow; after the last one, nothing."""
        with self._lock:
            if self._open:
                self._sender.send(pb_utils.InferenceResponse(tensors))

    def send_last(self, tensors: list[Any] | None = None, error: Any = None) -> None:
        """The last response: tensors, an error, or nothing but the mark that it is the last. The first call counts."""
        with self._lock:
            if not self._open:
                return
            self._open = False
        try:
            if error is not None:
                self._sender.send(pb_utils.InferenceResponse(error=error), flags=_FINAL)
            elif tensors is not None:
                self._sender.send(pb_utils.InferenceResponse(tensors), flags=_FINAL)
            else:
                self._sender.send(flags=_FINAL)
        finally:
            if self._closed is not None:
                self._closed()

    def refuse(self, message: str, code: int) -> None:
        """An error as the only response; `code` is one of `pb_utils.TritonError`'s."""
        self.send_last(error=pb_utils.TritonError(message, code))

    def cancelled(self) -> bool:
        """Whether the client has gone; False after the last response."""
        with self._lock:
            return self._open and bool(self._sender.is_cancelled())
