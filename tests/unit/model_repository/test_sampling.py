from __future__ import annotations

import numpy as np
import pytest

from tests.support.model_modules import model_module

sampling = model_module("llama_cpp", "sampling")
VOCAB = 200
PROMPT = np.array([3, 4], dtype=np.int32)


def sampler(bias: np.ndarray | None = None, **parameters: object) -> object:
    sparse = None if bias is None else sampling.sparse_bias(bias)
    return sampling.Sampler(sampling.SamplingParameters(**parameters), sparse, PROMPT, VOCAB)


def some_logits(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, VOCAB).astype(np.float32)


def drawn(count: int = 3000, logits: np.ndarray | None = None, **parameters: object) -> np.ndarray:
    """Frequencies of tokens."""
    made = sampler(seed=1, **parameters)
    logits = some_logits() if logits is None else logits
    return np.bincount([made.choose(logits.copy()) for _ in range(count)], minlength=VOCAB) / count


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(), dtype=np.float64)
    return weights / weights.sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_distribution(temperature: float) -> None:
    expected = softmax(some_logits().astype(np.float64) / temperature)
    assert np.abs(drawn(temperature=temperature) - expected).max() < 0.04


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    probabilities = softmax(some_logits())
    order = np.argsort(-probabilities)
    for top_p in (0.1, 0.5, 0.9, 0.999):
        count = int(np.searchsorted(np.cumsum(probabilities[order]), top_p)) + 1
        seen = np.flatnonzero(drawn(temperature=1.0, top_p=top_p))
        assert set(seen) <= set(order[:count])
        assert order[0] in seen


def test_a_flat_distribution_is_not_cut_by_the_quick_path() -> None:
    flat = np.zeros(VOCAB, np.float32)
    assert len(np.flatnonzero(drawn(5000, flat, top_p=0.5))) == VOCAB // 2
    steep = np.where(np.arange(VOCAB) == 7, 0, -15).astype(np.float32)
    assert drawn(50, steep, top_p=0.9999999)[7] > 0.9


def test_top_k_and_min_p() -> None:
    order = np.argsort(-some_logits())
    assert set(np.flatnonzero(drawn(temperature=3.0, top_k=4))) == set(order[:4])
    probabilities = softmax(some_logits() / 2.0)
    kept = np.flatnonzero(probabilities >= 0.2 * probabilities.max())
    assert set(np.flatnonzero(drawn(temperature=2.0, min_p=0.2))) == set(kept)
    both = np.flatnonzero(drawn(temperature=2.0, min_p=0.2, top_k=2, top_p=0.999))
    assert set(both) <= set(order[:2])


def test_greedy_and_extreme_temperatures() -> None:
    best = int(some_logits().argmax())
    assert sampler(temperature=0.0).choose(some_logits()) == best
    assert drawn(50, temperature=1e-6)[best] == 1.0
    assert len(np.flatnonzero(drawn(temperature=3e38))) > 100


def test_equal_seeds_draw_alike() -> None:
    draws = [[sampler(seed=seed, temperature=5.0).choose(some_logits(i)) for i in range(20)] for seed in (5, 5, 6)]
    assert draws[0] == draws[1] != draws[2]


def test_everything_banned() -> None:
    assert sampler().choose(np.full(VOCAB, -np.inf, np.float32)) == -1


def test_bias() -> None:
    bias = np.zeros(VOCAB, np.float32)
    bias[9], bias[10] = np.inf, -np.inf
    for temperature in (0.0, 0.01, 1.0, 100.0):
        logits = some_logits()
        made = sampler(bias, temperature=temperature)
        made.adjust(logits)
        assert made.choose(logits) == 9
        assert logits[10] == -np.inf
    assert sampling.sparse_bias(np.zeros(VOCAB, np.float32)) is None


def test_penalties() -> None:
    made = sampler(repetition_penalty=2.0, presence_penalty=1.0, frequency_penalty=0.25)
    for token in (8, 8, 9):
        made.accept(token)
    logits = np.full(VOCAB, 4.0, np.float32)
    logits[4] = -4.0
    made.adjust(logits)
    assert logits[3] == 2.0  # only in the prompt: repetition penalty alone
    assert logits[4] == -8.0
    assert logits[8] == 4.0 / 2 - 1.0 - 2 * 0.25
    assert logits[9] == 4.0 / 2 - 1.0 - 0.25
    assert logits[20] == 4.0


def test_log_probabilities() -> None:
    log_probs = sampling.log_probabilities(some_logits())
    assert np.allclose(np.exp(log_probs), softmax(some_logits()), rtol=1e-4)
    ids, values = sampling.top_alternatives(log_probs, 6)
    assert ids.tolist() == np.argsort(-log_probs)[:6].tolist()
    assert (values == log_probs[ids]).all()
    assert len(sampling.top_alternatives(log_probs, 10_000)[0]) == VOCAB
