"""Requests between Triton and an engine: taken in, watched, stopped by their id, and told when the model dies."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .cancellation import CancellationWatch
from .generation import Generation
from .reply import Reply
from .request import QueueFull, RequestError

LAST_WORDS = 5.0  # seconds to tell those who wait that the model has died, and to end what is left of it


class OpenRequests:
    """Makes generations of Triton's requests, and keeps them until their last response.

    The engine's side of it are functions; `ended` may come from any thread, the others from Triton's.

    Args:
        outputs: names of the outputs that the configuration declares.
        read: a generation of input tensors; raises RequestError.
        reserve: takes a place for it, which `begin` follows; raises QueueFull.
        begin: hands it to the engine. Its `reply` is there.
        cancel: has it end as soon as can be; from any thread, harmless when it has ended.
        ended: it has had its last response; once for each that has a place.
        last_words: what else is to be ended when the model dies.
    """

    def __init__(
        self,
        outputs: frozenset[str],
        *,
        read: Callable[[Mapping[str, np.ndarray]], Generation],
        reserve: Callable[[Generation], None],
        begin: Callable[[Generation], None],
        cancel: Callable[[Generation], None],
        ended: Callable[[Generation], None],
        last_words: Callable[[], None] = lambda: None,
    ) -> None:
        self._outputs = outputs
        self._read, self._reserve, self._begin = read, reserve, begin
        self._cancel, self._ended, self._last_words = cancel, ended, last_words
        self._by_id: dict[str, Generation] = {}
        self._lock = threading.Lock()
        self._end: str | None = None  # of the model: what everyone is told
        self._watch = CancellationWatch(cancel, self.died)

    def start(self) -> None:
        self._watch.start()

    def stop(self) -> None:
        self._watch.stop()

    def accept(self, triton_request: Any) -> None:
        """Takes one of `execute`'s requests; returns at once, and never raises for what the request got wrong."""
        sender = triton_request.get_response_sender()
        tensors = {tensor.name(): tensor.as_numpy() for tensor in triton_request.inputs()}
        request_id = triton_request.request_id()
        if "stop" in tensors and tensors["stop"].any():
            self._stop(request_id, Reply(sender))
            return
        outputs = frozenset(triton_request.requested_output_names())
        if outputs == self._outputs:  # nothing was named: Triton lists everything
            outputs -= {"context_ids"}
        try:
            generation = self._read(tensors)
            self._reserve(generation)
        except RequestError as error:
            Reply(sender).refuse(str(error), pb_utils.TritonError.INVALID_ARG)
            return
        except QueueFull as error:
            Reply(sender).refuse(str(error), pb_utils.TritonError.UNAVAILABLE)
            return
        generation.reply = Reply(sender, outputs, lambda: self._closed(generation, request_id))
        if request_id:
            with self._lock:
                self._by_id[request_id] = generation
        self._watch.add(generation)
        if self._end is not None:  # it came too late for `died` to find it
            self._tell(generation, self._end)
            return
        self._begin(generation)

    def _closed(self, generation: Generation, request_id: str) -> None:
        self._watch.remove(generation)
        with self._lock:
            if self._by_id.get(request_id) is generation:
                del self._by_id[request_id]
        self._ended(generation)

    def _stop(self, request_id: str, reply: Reply) -> None:
        """TensorRT-LLM's `stop`: ends the running request of the same id; answers with an empty last response."""
        if not request_id:
            reply.refuse("stop: a request id is needed", pb_utils.TritonError.INVALID_ARG)
            return
        with self._lock:
            generation = self._by_id.get(request_id)
        if generation is not None:
            self._cancel(generation)
        reply.send_last()

    def died(self, what: str) -> None:
        """Ends the process, after an error to everyone who waits. Does not return.

        Nothing of Triton notices a thread that ended. A process that ended, its supervisor sees, and starts Triton
        again; Triton itself starts no other and goes on calling the model ready.
        """
        deadline = threading.Timer(LAST_WORDS, os._exit, [1])
        deadline.daemon = True
        deadline.start()
        try:
            pb_utils.Logger.log_error(f"the model ends: {what}")
            # From here on nothing is taken in: the last words may take seconds.
            self._end = f"the engine has died: {what}"
            for generation in self._watch.open():
                self._tell(generation, self._end)
            self._last_words()
        finally:
            os._exit(1)

    def _tell(self, generation: Generation, end: str) -> None:
        try:
            generation.reply.refuse(end, pb_utils.TritonError.INTERNAL)
        except Exception as error:  # the others are to hear of it all the same
            pb_utils.Logger.log_error(f"an error could not be sent: {error!r}")
