"""Triton Python-backend model: a compiled engine that a smaller one writes drafts for, as one model.

Its tensors are those of the compiled engine. Each request has a thread while it is answered: it waits for the two
engines nearly all of the time, and Triton's way to ask another decoupled model blocks.
"""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import triton_python_backend_utils as pb_utils

from .drafting import Limits, read_drafted
from .generation import Generation
from .vital_thread import VitalThread

PERIOD = 0.02  # seconds between two looks at whether clients have gone


class TritonPythonModel:
    """Takes requests off Triton's hands at once."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        settings = {key: entry["string_value"] for key, entry in config["parameters"].items()}
        self._target, self._draft = settings["target_model"], settings["draft_model"]
        self._limits = Limits(
            context_length=int(settings["context_length"]),
            vocab_size=int(settings["vocab_size"]),
            max_draft_len=int(settings["max_draft_len"]),
        )
        # As many answers as the engines compute at once; the others wait here.
        threads = int(settings["max_batch_size"])
        self._capacity = threads + int(settings["max_queue_size"])
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="answer")
        self._open: dict[Generation, str] = {}  # -> id of the client's request
        self._changed = threading.Condition()
        self._stopping = False
        self._watch = VitalThread(self._watch_clients, "cancellation", _died)
        self._watch.start()

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            self._accept(request)

    def _accept(self, request: Any) -> None:
        sender = request.get_response_sender()
        inputs = {tensor.name(): tensor for tensor in request.inputs()}
        if "stop" in inputs and inputs["stop"].as_numpy().any():
            self._stop(request.request_id(), sender)
            return
        drafted = read_drafted({name: tensor.as_numpy() for name, tensor in inputs.items()}, self._limits)
        generation = Generation(inputs, drafted, sender, list(request.requested_output_names()), self._closed)
        with self._changed:
            full = len(self._open) >= self._capacity
            if not full:
                self._open[generation] = request.request_id()
                self._changed.notify()
        if full:
            error = f"the queue is full: {self._capacity} requests are open"
            generation.end(error, pb_utils.TritonError.UNAVAILABLE)
            return
        self._pool.submit(generation.run, self._target, self._draft)

    def _stop(self, request_id: str, sender: Any) -> None:
        """TensorRT-LLM's `stop`: ends the running request of the same id; answers with an empty last response."""
        flags = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        if not request_id:
            error = pb_utils.TritonError("stop: a request id is needed", pb_utils.TritonError.INVALID_ARG)
            sender.send(pb_utils.InferenceResponse(error=error), flags=flags)
            return
        with self._changed:
            meant = [generation for generation, own_id in self._open.items() if own_id == request_id]
        for generation in meant:
            generation.cancel()
        sender.send(flags=flags)

    def _closed(self, generation: Generation) -> None:
        with self._changed:
            self._open.pop(generation, None)

    def _watch_clients(self) -> None:
        while True:
            with self._changed:
                while not self._open and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                generations = list(self._open)
            for generation in generations:
                if generation.abandoned():
                    generation.cancel()
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, PERIOD)

    def finalize(self) -> None:
        with self._changed:
            self._stopping = True
            generations = list(self._open)
            self._changed.notify()
        self._watch.join()
        for generation in generations:
            generation.cancel()
        self._pool.shutdown(wait=True)


def _died(what: str) -> None:
    """Ends the process: its supervisor starts it again, while a model that no longer notices who leaves goes on as if
    nothing were wrong."""
    pb_utils.Logger.log_error(f"the model ends: {what}")
    os._exit(1)
