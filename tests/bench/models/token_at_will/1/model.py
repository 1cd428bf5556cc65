"""A Triton model that emits tokens at will: the engine contract without an engine.

For each request it sends `request_output_len` tokens, one a response, ids cycling over the parameter `word_ids`; as
fast as Triton takes them, or, with the parameter `tokens_per_second` above 0, each stream at that rate. Without
`streaming` all tokens come in one response. docs/model_repository.md describes the tensors.
"""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

# Answers at the same time; more wait. A send returns when the server has taken the response: the streams wait for that
# side by side.
THREADS = 512
# Seconds between two questions whether the client has gone: each costs as much as a token.
CANCELLATION_PERIOD = 0.05


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        ids = [int(token) for token in parameters["word_ids"]["string_value"].split(",")]
        self._words = [np.array([[token]], dtype=np.int32) for token in ids]
        rate = float(parameters["tokens_per_second"]["string_value"])
        self._interval = 1.0 / rate if rate > 0 else 0.0
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(THREADS)

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            self._threads.submit(self._answer, request.get_response_sender(), request)

    def finalize(self) -> None:
        self._stopping.set()
        self._threads.shutdown()

    def _answer(self, sender: Any, request: Any) -> None:
        try:
            count = _scalar(request, "request_output_len", 0)
            if count < 1:
                raise ValueError(f"request_output_len is {count}, at least 1 is needed")
            if _scalar(request, "streaming", False):
                self._stream(sender, count)
            else:
                row = np.concatenate([self._words[place % len(self._words)] for place in range(count)], axis=1)
                sender.send(_response(row))
        except Exception as error:
            if not sender.is_cancelled():
                sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error))))
        finally:
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _stream(self, sender: Any, count: int) -> None:
        words, interval = self._words, self._interval
        clock = time.monotonic
        due = asked = clock()
        for place in range(count):
            if interval:
                due += interval
                time.sleep(max(0.0, due - clock()))
            if clock() - asked > CANCELLATION_PERIOD:
                asked = clock()
                if sender.is_cancelled() or self._stopping.is_set():
                    return
            sender.send(_response(words[place % len(words)]))


def _response(row: np.ndarray) -> Any:
    return pb_utils.InferenceResponse([pb_utils.Tensor("output_ids", row)])


def _scalar(request: Any, name: str, default: Any) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else tensor.as_numpy().reshape(-1)[0].item()
