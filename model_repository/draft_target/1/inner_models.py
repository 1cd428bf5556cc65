"""Requests to the two engines behind this model, over Triton's business logic scripting (BLS)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import triton_python_backend_utils as pb_utils


class InnerError(Exception):
    """What an engine answered in place of tokens; the message is its own."""

    def __init__(self, error: Any) -> None:
        super().__init__(error.message())
        self.code = error.code() if hasattr(error, "code") else pb_utils.TritonError.INTERNAL


class InnerRequests:
    """The requests to engines that one request of a client makes, one after the other; any thread may end the last.

    They are ended by TensorRT-LLM's own `stop`: a request of the same id. Up to 24.10 at least, Triton has no way to
    cancel what a Python model has asked another model, and TensorRT-LLM's backend knows this one in all releases.

    None of them may be streamed. In Triton's Python backend (24.10, and its sources since) a thread that waits for the
    next response of one request, a later response of the same request and another thread's `exec` wait for each other's
    locks and the GIL, for good: `ResponseIterator::Next` takes the GIL again while it holds the iterator's mutex. What
    has one response goes through without that mutex.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: tuple[str, str] | None = None  # model, request id
        self.cancelled = False

    def ask(self, model: str, tensors: Mapping[str, Any], outputs: Sequence[str]) -> Iterator[Any]:
        """Responses of an engine with tensors in them, as they come. None once the client has gone.

        Args:
            tensors: arrays, or tensors of Triton's, by name.
        Raises:
            InnerError: it answered an error.
        """
        request_id = uuid4().hex
        with self._lock:
            if self.cancelled:
                return
            self._running = (model, request_id)
        try:
            request = pb_utils.InferenceRequest(
                model_name=model,
                request_id=request_id,
                requested_output_names=list(outputs),
                inputs=[
                    pb_utils.Tensor(name, value) if isinstance(value, np.ndarray) else value
                    for name, value in tensors.items()
                ],
            )
            for response in request.exec(decoupled=True):
                if response.has_error():
                    raise InnerError(response.error())
                if response.output_tensors():  # the last one may be nothing but the mark that it is
                    yield response
        finally:
            with self._lock:
                self._running = None

    def cancel(self) -> None:
        """Begins no further request and ends the running one. Called again, says so again: the first `stop` may have
        come before the request that it is for."""
        with self._lock:
            self.cancelled = True
            running = self._running
        if running is None:
            return
        model, request_id = running
        one = np.array([[1]], dtype=np.int32)
        inputs = {"input_ids": one, "input_lengths": one, "request_output_len": one, "stop": np.array([[True]])}
        request = pb_utils.InferenceRequest(
            model_name=model,
            request_id=request_id,
            requested_output_names=["output_ids", "sequence_length"],
            inputs=[pb_utils.Tensor(name, value) for name, value in inputs.items()],
        )
        for _ in request.exec(decoupled=True):
            pass


def new_tokens(response: Any) -> list[int]:
    """The tokens of a response for one sequence that is not streamed: `output_ids` [1, 1, n], padded with -1."""
    found = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
    count = int(found["sequence_length"].reshape(-1)[0])
    return [token for token in found["output_ids"].reshape(-1)[:count].tolist() if token >= 0]
