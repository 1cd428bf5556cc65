"""Answers on their way back through Triton: tokens become response tensors, sent by a thread of their own.

The engine computes the next tokens meanwhile. Tokens that arrive while a response is being sent share the next one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .answer_tensors import AnswerTensors
from .generation import CANCELLED, Generation, Token
from .reply import Reply
from .vital_thread import VitalThread


class Delivery:
    """Sends what the engine produces (the engine's `Receiver`).

    Args:
        died: called, from the thread that sends, when it cannot go on; says why.
    """

    def __init__(self, died: Callable[[str], None]) -> None:
        self._ready: queue.SimpleQueue[Generation | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = VitalThread(self._run, "delivery", died)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after everything queued has been sent."""
        self._ready.put(None)
        self._thread.join()

    def token(self, generation: Generation, token: Token) -> None:
        reply: Reply = generation.reply
        with self._lock:
            reply.pending.append(token)
            if reply.queued or not generation.request.streaming:
                return
            reply.queued = True
        self._ready.put(generation)

    def finish(self, generation: Generation, reason: str) -> None:
        self._end(generation, reason, None)

    def fail(self, generation: Generation, message: str, internal: bool) -> None:
        code = pb_utils.TritonError.INTERNAL if internal else pb_utils.TritonError.INVALID_ARG
        if internal:
            pb_utils.Logger.log_error(message)
        self._end(generation, None, pb_utils.TritonError(message, code))

    def _end(self, generation: Generation, reason: str | None, error: Any) -> None:
        reply: Reply = generation.reply
        with self._lock:
            reply.reason, reply.error = reason, error
            if reply.queued:
                return
            reply.queued = True
        self._ready.put(generation)

    def _run(self) -> None:
        while (generation := self._ready.get()) is not None:
            try:
                self._send(generation)
            except Exception as error:  # one lost client must not end the thread for all
                self._break_off(generation, f"a response could not be sent: {error!r}")

    def _break_off(self, generation: Generation, problem: str) -> None:
        """The answer ends here: what followed would have a gap before it that nobody sees."""
        pb_utils.Logger.log_error(problem)
        generation.cancelled = True  # the engine gives its slot to others
        try:
            generation.reply.refuse(problem, pb_utils.TritonError.INTERNAL)
        except Exception as error:
            pb_utils.Logger.log_error(f"nor could the error: {error!r}")

    def _send(self, generation: Generation) -> None:
        reply: Reply = generation.reply
        with self._lock:
            tokens, reply.pending = reply.pending, []
            reply.queued = False
            reason, error = reply.reason, reply.error
        if error is not None:
            reply.send_last(error=error)
        elif reason == CANCELLED and reply.cancelled():
            reply.send_last()  # nobody reads it
        elif reason is not None:
            reply.send_last(response_tensors(generation, tokens, reason))
        elif tokens:
            reply.send(response_tensors(generation, tokens, None))


def response_tensors(generation: Generation, tokens: list[Token], reason: str | None) -> list[Any]:
    """The output tensors of one response, each with the leading batch dimension of 1.

    Args:
        tokens: of the answer, those not yet delivered.
        reason: why the answer ended, in the last response.
    """
    request, reply = generation.request, generation.reply
    tensors = AnswerTensors(
        request, reply.outputs, tokens, answer=generation.answer, progress=reply, prompt_length=generation.prompt_length
    )
    if request.alternatives:
        alternatives = [token.alternatives for token in tokens if token.alternatives is not None]
        shape = (1, len(alternatives), request.alternatives)
        tensors.add("top_token_ids", np.array([pair[0] for pair in alternatives]).reshape(shape), np.int32)
        tensors.add("top_log_probs", np.array([pair[1] for pair in alternatives]).reshape(shape), np.float32)
    if not reply.responded:
        reply.responded = True
        tensors.add("cached_tokens", [[generation.cached_tokens]], np.int32)
        tensors.add("prompt_tokens", [[generation.prompt_length]], np.int32)
        scores = generation.prompt_scores
        if scores is not None and scores.complete:  # an answer may be stopped before its prompt is read
            tensors.add("prompt_log_probs", [scores.log_probs], np.float32)
            if request.alternatives:
                tensors.add("prompt_top_token_ids", [scores.top_ids], np.int32)
                tensors.add("prompt_top_log_probs", [scores.top_log_probs], np.float32)
    if reason is not None:
        tensors.add("finish_reason", [[reason.encode()]], np.object_)
    return tensors.made
