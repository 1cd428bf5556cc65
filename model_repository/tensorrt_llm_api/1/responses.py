"""Output tensors: what one response says of one of the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .answer_tensors import AnswerTensors
from .generation import AnswerSequence, Generation, Token

Add = Callable[[str, Any, Any], None]


def response_tensors(generation: Generation, sequence: AnswerSequence, tokens: list[Token]) -> list[Any]:
    """The tensors of one response, each with the leading batch dimension of 1.

    Args:
        tokens: of the answer, those not yet delivered. The reason of its end goes along, once.
    """
    request, reply = generation.request, generation.reply
    tensors = AnswerTensors(
        request,
        reply.outputs,
        tokens,
        answer=sequence.answer,
        progress=sequence,
        prompt_length=generation.prompt_length,
    )
    add = tensors.add
    if generation.extras.sequences > 1:
        add("sequence_index", [[sequence.index]], np.int32)
    if request.alternatives:
        _add_alternatives(add, "top", tokens, request.alternatives)
    if not reply.responded:
        reply.responded = True
        if generation.cached_tokens is not None:
            add("cached_tokens", [[generation.cached_tokens]], np.int32)
        add("prompt_tokens", [[generation.prompt_length]], np.int32)
        scores = generation.prompt_scores
        if scores is not None:
            add("prompt_log_probs", [[token.log_prob for token in scores]], np.float32)
            if request.alternatives:
                _add_alternatives(add, "prompt_top", scores, request.alternatives)
    if sequence.reason is not None:
        sequence.told = True
        add("finish_reason", [[sequence.reason.encode()]], np.object_)
        if generation.extras.perf_metrics and generation.result is not None:
            _add_perf_metrics(add, generation.result.outputs[sequence.index])
    return tensors.made


def _add_alternatives(add: Add, prefix: str, tokens: list[Token], width: int) -> None:
    """Rows of `width`; what a place lacks is filled with id -1 and 0.0."""
    rows = [[*token.alternatives, *[(-1, 0.0)] * (width - len(token.alternatives))] for token in tokens]
    pairs = np.array(rows, dtype=np.float64).reshape(1, len(rows), width, 2)
    add(f"{prefix}_token_ids", pairs[..., 0], np.int32)
    add(f"{prefix}_log_probs", pairs[..., 1], np.float32)


def _add_perf_metrics(add: Add, output: Any) -> None:
    """TensorRT-LLM's `RequestPerfMetrics`, under the names that its C++ Triton backend gives them.

    Times are of a monotonic clock. A release that measures less leaves outputs away.
    """
    metrics = getattr(output, "request_perf_metrics", None)
    timing = getattr(metrics, "timing_metrics", None)
    for name in ("arrival_time", "first_scheduled_time", "first_token_time", "last_token_time"):
        moment = getattr(timing, name, None)
        if moment is not None:
            add(f"{name}_ns", [[_nanoseconds(moment)]], np.int64)
    cache = getattr(metrics, "kv_cache_metrics", None)
    for name, attribute in (
        ("kv_cache_alloc_new_blocks", "num_new_allocated_blocks"),
        ("kv_cache_reused_blocks", "num_reused_blocks"),
        ("kv_cache_alloc_total_blocks", "num_total_allocated_blocks"),
    ):
        if hasattr(cache, attribute):
            add(name, [[getattr(cache, attribute)]], np.int32)
    drafts = getattr(metrics, "speculative_decoding", None)
    for name, dtype in (
        ("acceptance_rate", np.float32),
        ("total_accepted_draft_tokens", np.int32),
        ("total_draft_tokens", np.int32),
    ):
        if hasattr(drafts, name):
            add(name, [[getattr(drafts, name)]], dtype)


def _nanoseconds(moment: Any) -> int:
    """A `timedelta`, in whole microseconds, or a number of seconds."""
    if hasattr(moment, "days"):
        return ((moment.days * 86_400 + moment.seconds) * 1_000_000 + moment.microseconds) * 1000
    return int(float(moment) * 1e9)
