"""One request of a client, from its first round to its last response."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .drafting import Drafted
from .inner_models import InnerError, InnerRequests, new_tokens

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
# Of the rounds' own measures, which one tells of the whole answer.
_OF_FIRST = (
    *("arrival_time_ns", "first_scheduled_time_ns", "first_token_time_ns"),
    *("kv_cache_alloc_new_blocks", "kv_cache_reused_blocks", "kv_cache_alloc_total_blocks"),
)
_OF_LAST = ("last_token_time_ns",)


class Generation:
    """Runs in a thread of its own.

    Args:
        inputs: Triton's tensors, by name. drafted: the request, if it is answered in rounds.
        sender: Triton's response sender. outputs: names of the outputs that were asked for.
        closed: called once, after the last response.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        drafted: Drafted | None,
        sender: Any,
        outputs: list[str],
        closed: Callable[[Generation], None],
    ) -> None:
        self._inputs = inputs
        self._drafted = drafted
        self._sender = sender
        self._outputs = outputs
        self._closed = closed
        self._inner = InnerRequests()
        self._measures: dict[str, Any] = {}
        self._open = True
        self._lock = threading.Lock()

    def run(self, target: str, draft: str) -> None:
        """Answers, to the last response. `target` and `draft` are Triton's names of the engines."""
        try:
            if self._drafted is None:
                self._alone(target)
            else:
                self._rounds(self._drafted, target, draft)
        except InnerError as error:
            self.end(str(error), error.code)
        except Exception as error:
            pb_utils.Logger.log_error(f"{target}: {error!r}")
            self.end(f"the answer broke off: {error}", pb_utils.TritonError.INTERNAL)

    def _alone(self, target: str) -> None:
        """The target's own answer. Never as a stream: see `InnerRequests`."""
        asked = dict(self._inputs)
        if "num_return_sequences" in asked and asked["num_return_sequences"].as_numpy().max() > 1:
            error = "num_return_sequences: one answer at a time with a draft model; more are more requests"
            self.end(error, pb_utils.TritonError.INVALID_ARG)
            return
        if "streaming" in asked and asked.pop("streaming").as_numpy().any():
            asked["exclude_input_in_output"] = np.array([[True]])  # which a stream does of itself
        for response in self._inner.ask(target, asked, self._outputs):
            self._send(response.output_tensors())
        self.end()

    def _rounds(self, request: Drafted, target: str, draft: str) -> None:
        streaming, drafting = request.flag("streaming"), True
        while not request.ended:
            written: list[int] = []
            asked = request.draft_request() if drafting else None
            if asked is not None:
                try:
                    for response in self._inner.ask(draft, asked, ("output_ids", "sequence_length")):
                        written += new_tokens(response)
                except InnerError as error:
                    # Without drafts the answer is the same, only slower.
                    pb_utils.Logger.log_warn(f"{draft}: {error}; an answer goes on without drafts")
                    drafting = False
            written = request.usable(written)
            checked: list[int] = []
            outputs = ["output_ids", "sequence_length"]
            if request.flag("return_perf_metrics"):
                outputs += [name for name in (*_OF_FIRST, *_OF_LAST) if name in self._outputs]
            for response in self._inner.ask(target, request.target_request(written), outputs):
                checked += new_tokens(response)
                self._measure(response)
            if self._inner.cancelled:
                self.end()
                return
            new = request.take(written, checked)
            if streaming and not request.ended:
                self._send(self._tensors(request, new))
            elif request.ended:
                self.end(tensors=self._tensors(request, new if streaming else request.answer, last=True))

    def _measure(self, response: Any) -> None:
        for tensor in response.output_tensors():
            if tensor.name() in _OF_LAST:
                self._measures[tensor.name()] = tensor.as_numpy()
            elif tensor.name() in _OF_FIRST:
                self._measures.setdefault(tensor.name(), tensor.as_numpy())

    def _tensors(self, request: Drafted, tokens: list[int], last: bool = False) -> list[Any]:
        made: dict[str, Any] = {
            "output_ids": np.array([[tokens]], dtype=np.int32),
            "sequence_length": np.array([[len(tokens)]], dtype=np.int32),
        }
        if request.flag("return_num_input_tokens"):
            made["num_input_tokens"] = np.array([[len(request.prompt)]], dtype=np.int32)
        if request.flag("return_num_output_tokens"):
            made["num_output_tokens"] = np.array([[len(tokens)]], dtype=np.int32)
        if last and request.flag("return_perf_metrics"):
            made.update(self._measures)
            rate = request.accepted / request.drafted if request.drafted else 0.0
            made["acceptance_rate"] = np.array([[rate]], dtype=np.float32)
            made["total_accepted_draft_tokens"] = np.array([[request.accepted]], dtype=np.int32)
            made["total_draft_tokens"] = np.array([[request.drafted]], dtype=np.int32)
        return [pb_utils.Tensor(name, array) for name, array in made.items() if name in self._outputs]

    def _send(self, tensors: list[Any]) -> None:
        self._sender.send(pb_utils.InferenceResponse(tensors))

    def end(self, error: str = "", code: int = 0, tensors: list[Any] | None = None) -> None:
        """The last response: an error, tensors, or nothing but the mark that it is the last. The first call counts."""
        with self._lock:
            if not self._open:
                return
            self._open = False
        try:
            if error:
                response = pb_utils.InferenceResponse(error=pb_utils.TritonError(error, code))
                self._sender.send(response, flags=_FINAL)
            elif tensors is not None:
                self._sender.send(pb_utils.InferenceResponse(tensors), flags=_FINAL)
            else:
                self._sender.send(flags=_FINAL)
        finally:
            self._closed(self)

    def cancel(self) -> None:
        """Ends what runs for it; the last response comes from its own thread. May be called again."""
        self._inner.cancel()

    def abandoned(self) -> bool:
        """Whether the client has gone, or has said stop. Triton must not be asked after the last response."""
        if self._inner.cancelled:
            return True
        with self._lock:
            return self._open and bool(self._sender.is_cancelled())
