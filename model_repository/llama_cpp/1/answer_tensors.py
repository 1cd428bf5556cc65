"""The tensors of a response that do not depend on which engine wrote the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import triton_python_backend_utils as pb_utils

from .generation import Token
from .request import Request

CONTEXT_TOKENS = 8


class Progress(Protocol):
    """How far an answer has been delivered: tokens, and their log probabilities' sum."""

    delivered: int
    total_log_prob: float


class AnswerTensors:
    """The output tensors of one response, each with the leading batch dimension of 1.

    `made` begins with `output_ids` and `sequence_length`, which every response has.

    Args:
        outputs: names of the outputs that were asked for.
        tokens: of the answer, those not yet delivered. `progress` counts them as delivered from now on.
        answer: all its token ids so far, these and perhaps later ones among them.
        prompt_length: tokens of the prompt, those that media take among them.
    """

    def __init__(
        self,
        request: Request,
        outputs: frozenset[str],
        tokens: Sequence[Token],
        *,
        answer: Sequence[int],
        progress: Progress,
        prompt_length: int,
    ) -> None:
        self._outputs = outputs
        ids = [token.id for token in tokens]
        echo = not request.streaming and not request.exclude_input
        shown = [*request.prompt.tolist(), *ids] if echo else ids
        self.made = [
            pb_utils.Tensor("output_ids", np.array([[shown]], dtype=np.int32)),
            pb_utils.Tensor("sequence_length", np.array([[len(shown)]], dtype=np.int32)),
        ]
        if request.log_probs:
            log_probs = [token.log_prob for token in tokens]
            progress.total_log_prob += sum(log_probs)
            self.add("output_log_probs", [[log_probs]], np.float32)
            self.add("cum_log_probs", [[progress.total_log_prob]], np.float32)
        if request.return_num_input_tokens:
            self.add("num_input_tokens", [[prompt_length]], np.int32)
        if request.return_num_output_tokens:
            self.add("num_output_tokens", [[len(shown)]], np.int32)
        if "context_ids" in outputs:
            context = list(answer[max(0, progress.delivered - CONTEXT_TOKENS) : progress.delivered])
            if len(context) < CONTEXT_TOKENS and not echo:
                context = [*request.prompt[len(context) - CONTEXT_TOKENS :].tolist(), *context]
            self.add("context_ids", [context], np.int32)
        progress.delivered += len(tokens)

    def add(self, name: str, value: Any, dtype: Any) -> None:
        """A further one, `value` with its batch dimension; left out where the request has not asked for it."""
        if name in self._outputs:
            self.made.append(pb_utils.Tensor(name, np.array(value, dtype=dtype)))
