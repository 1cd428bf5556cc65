"""How likely the model finds a prompt: the log probability of each of its tokens after those before it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .sampling import log_probabilities, top_alternatives

# Positions whose logits exist at the same time; each takes `vocab_size` floats of memory (32 of 151,936: 19 MB).
PIECE = 32


class PromptScores:
    """Filled piece by piece while a prompt is read.

    log_probs      FP32 [n]: natural logarithm of each token's probability; nothing comes before the first: 0.0
    top_ids        int32 [n, k]: the likeliest tokens of each position, likeliest first; -1 at the first
    top_log_probs  FP32 [n, k]: their log probabilities; 0.0 at the first
    """

    def __init__(self, prompt: np.ndarray, alternatives: int) -> None:
        self._prompt = prompt
        self._known = 1
        self.log_probs = np.zeros(len(prompt), dtype=np.float32)
        # Zeros take no memory before they are written: a request that waits for a slot costs nothing yet.
        self.top_ids = np.zeros((len(prompt), alternatives), dtype=np.int32)
        self.top_ids[0] = -1
        self.top_log_probs = np.zeros((len(prompt), alternatives), dtype=np.float32)

    @property
    def complete(self) -> bool:
        return self._known == len(self._prompt)

    def take(self, start: int, end: int, logits: Callable[[int], np.ndarray]) -> None:
        """Scores the tokens that follow those at `start` to `end` (exclusive) of the prompt.

        Args:
            logits: of a row, FP32 [vocab], left as it is; row 0 belongs to `start`.
        """
        for position in range(start, min(end, len(self._prompt) - 1)):
            log_probs = log_probabilities(logits(position - start))
            following = position + 1
            self.log_probs[following] = log_probs[self._prompt[following]]
            count = self.top_ids.shape[1]
            if count:
                self.top_ids[following], self.top_log_probs[following] = top_alternatives(log_probs, count)
            self._known = following + 1
