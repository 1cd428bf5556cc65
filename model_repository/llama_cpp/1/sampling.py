"""Choosing the next token from the logits.

Order: penalties, bias and bans on the raw logits; then temperature, min-p, top-k, top-p; then the draw. Log
probabilities are those of the raw logits: the model's own, before all of this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Stands for an infinite bias: large enough to decide, small enough that differences do not overflow FP32.
HUGE = np.float32(1e37)
# A token this far (in temperature-scaled logits) below the best has a probability under 1e-13: never drawn.
_NEGLIGIBLE = np.float32(-30.0)
_FIRST_CUT = np.float32(-10.0)


@dataclass(frozen=True)
class SamplingParameters:
    """What a request asks of the sampler.

    temperature         0: the likeliest token always (greedy)
    top_k               0: off
    top_p               of the probability mass kept, (0, 1]; 1: off
    min_p               least probability relative to the likeliest token, [0, 1]; 0: off
    repetition_penalty  > 0; divides (or, below zero, multiplies) the logits of tokens of prompt and answer; 1: off
    presence_penalty    subtracted once from the logits of tokens of the answer; 0: off
    frequency_penalty   subtracted as often as the token occurs in the answer; 0: off
    seed                same seed and same request, same tokens; None: from the system
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None


@dataclass(frozen=True)
class SparseBias:
    """Added to the logits of the tokens `ids` (int64 [n]): `values` (FP32 [n]), -inf bans."""

    ids: np.ndarray
    values: np.ndarray


def sparse_bias(dense: np.ndarray) -> SparseBias | None:
    """The part of a dense bias (FP32 [vocab]) that is not zero; +inf becomes a very large number."""
    ids = np.flatnonzero(dense)
    if not len(ids):
        return None
    return SparseBias(ids, np.minimum(dense[ids], HUGE))


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """FP32 [vocab]: natural logarithm of the softmax."""
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def top_alternatives(log_probs: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` likeliest tokens, likeliest first: ids int32 [count], log probabilities FP32 [count]."""
    count = min(count, len(log_probs))
    ids = np.argpartition(log_probs, len(log_probs) - count)[-count:]
    ids = ids[np.argsort(-log_probs[ids], kind="stable")]
    return ids.astype(np.int32), log_probs[ids]


class Sampler:
    """The sampler of one request; keeps count of the tokens and its own random numbers."""

    def __init__(self, parameters: SamplingParameters, bias: SparseBias | None, prompt: np.ndarray, vocab_size: int):
        self._parameters = parameters
        self._bias = bias
        self._random = np.random.Generator(np.random.PCG64(parameters.seed))
        self._seen = np.unique(prompt) if parameters.repetition_penalty != 1.0 else None
        self._counts: dict[int, int] = {}
        self._penalized = parameters.presence_penalty != 0.0 or parameters.frequency_penalty != 0.0
        self._vocab_size = vocab_size

    def adjust(self, logits: np.ndarray) -> None:
        """Applies penalties and bias to `logits` (FP32 [vocab]) in place."""
        parameters = self._parameters
        if self._seen is not None:
            values = logits[self._seen]
            penalty = np.float32(parameters.repetition_penalty)
            logits[self._seen] = np.where(values < 0, values * penalty, values / penalty)
        if self._penalized and self._counts:
            ids = np.fromiter(self._counts.keys(), dtype=np.int64, count=len(self._counts))
            counts = np.fromiter(self._counts.values(), dtype=np.float32, count=len(self._counts))
            logits[ids] -= np.float32(parameters.presence_penalty) + np.float32(parameters.frequency_penalty) * counts
        if self._bias is not None:
            logits[self._bias.ids] += self._bias.values

    def choose(self, logits: np.ndarray) -> int:
        """Draws a token from adjusted logits (FP32 [vocab]); -1 when every token is banned."""
        best = int(logits.argmax())
        top = logits[best]
        if top == -np.inf:
            return -1
        parameters = self._parameters
        if parameters.temperature == 0.0 or parameters.top_k == 1:
            return best
        with np.errstate(over="ignore"):  # -inf is what a hopeless token deserves
            scaled = (logits - top) / np.float32(parameters.temperature)
        ids, weights = self._candidates(scaled)
        total = np.cumsum(weights, dtype=np.float64)
        position = int(np.searchsorted(total, self._random.random() * total[-1], side="right"))
        if position == len(total):  # the product was rounded up
            return best
        return position if ids is None else int(ids[position])

    def _candidates(self, scaled: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Tokens left by top-k, top-p and min-p: ids (None: all) and their weights, likeliest = 1."""
        parameters = self._parameters
        ids: np.ndarray | None = None
        if parameters.min_p > 0.0:
            ids = np.flatnonzero(scaled >= np.float32(np.log(parameters.min_p)))
            scaled = scaled[ids]
        if 0 < parameters.top_k < len(scaled):
            kept = np.argpartition(scaled, len(scaled) - parameters.top_k)[-parameters.top_k :]
            ids = kept if ids is None else ids[kept]
            scaled = scaled[kept]
        weights = np.exp(scaled)
        if parameters.top_p < 1.0:
            kept = self._nucleus(scaled, weights)
            ids = kept if ids is None else ids[kept]
            weights = weights[kept]
        return ids, weights

    def _nucleus(self, scaled: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Positions of the likeliest tokens that together first reach `top_p`, likeliest first."""
        wanted = self._parameters.top_p * float(weights.sum(dtype=np.float64))
        # Sorting a whole vocabulary is slow and the nucleus is nearly always within the first cut.
        for cut in (_FIRST_CUT, _NEGLIGIBLE, np.float32(-np.inf)):
            kept = np.flatnonzero(scaled >= cut)
            kept = kept[np.argsort(-scaled[kept], kind="stable")]
            mass = np.cumsum(weights[kept], dtype=np.float64)
            if mass[-1] >= wanted:
                break
        return kept[: int(np.searchsorted(mass, wanted, side="left")) + 1]

    def accept(self, token: int) -> None:
        """Counts a token of the answer."""
        if self._penalized:
            self._counts[token] = self._counts.get(token, 0) + 1
        if self._seen is not None:
            place = int(np.searchsorted(self._seen, token))
            if place == len(self._seen) or self._seen[place] != token:
                self._seen = np.insert(self._seen, place, token)
