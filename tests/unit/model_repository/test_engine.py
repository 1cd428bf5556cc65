"""The scheduler over a context that computes nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.fake_llama import (
    PIECE,
    VOCAB,
    FakeContext,
    Recorder,
    generation,
    new_engine,
    request,
    sampling,
    submit,
)
from tests.support.model_modules import model_module

multimodal = model_module("llama_cpp", "multimodal")


@pytest.fixture
def context() -> FakeContext:
    return FakeContext()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def running(context: FakeContext, recorder: Recorder) -> Iterator[Any]:
    made = new_engine(context, recorder)
    made.start()
    yield made
    made.stop()


def test_answers(running: Any, recorder: Recorder) -> None:
    items = [submit(running, [first], 5) for first in (1, 10, 20, 30)]
    assert recorder.wait(*items) == ["length"] * 4
    assert [item.answer for item in items] == [[2, 3, 4, 5, 6], [*range(11, 16)], [*range(21, 26)], [31, 0, 1, 2, 3]]


def test_places_are_counted(running: Any, context: FakeContext, recorder: Recorder) -> None:
    context.slow = True
    items = [submit(running, [1] * 20, 5) for _ in range(4)]
    with pytest.raises(request.QueueFull, match="all 2 places"):
        running.reserve()
    for item in items:
        running.cancel(item)
    assert recorder.wait(*items) == ["cancelled"] * 4
    context.slow = False
    assert recorder.wait(submit(running, [1], 3)) == ["length"]
    for _ in range(4):
        running.reserve()
    for _ in range(4):
        running.release()


def test_cancel_of_one_does_not_stop_the_other(running: Any, context: FakeContext, recorder: Recorder) -> None:
    long, other = submit(running, [1], 60), submit(running, [2], 60)
    running.cancel(long)
    running.cancel(long)
    assert recorder.wait(long, other) == ["cancelled", "length"]
    assert len(other.answer) == 60
    assert not context.abort.event.is_set()


def test_cancelled_before_it_is_submitted(running: Any, recorder: Recorder) -> None:
    parameters = sampling.SamplingParameters(temperature=0.0)
    item = generation.Generation(request.Request(np.array([1], np.int32), 5, parameters), VOCAB)
    running.reserve()
    running.cancel(item)
    running.submit(item)
    assert recorder.wait(item) == ["cancelled"]


def test_failure_of_llama_cpp_costs_the_running_answers_only(
    running: Any, context: FakeContext, recorder: Recorder
) -> None:
    context.broken = True
    assert recorder.wait(submit(running, [1], 5)) == ["error: broken"]
    context.broken = False
    item = submit(running, [1], 5)
    assert recorder.wait(item) == ["length"]
    assert item.cached_tokens == 0  # nobody knew what the cache held


def test_panic_of_a_guide_costs_its_own_answer(running: Any, recorder: Recorder) -> None:
    class Panic(BaseException):
        pass

    class Guide:
        def restrict(self, logits: np.ndarray, end_ids: frozenset[int]) -> None:
            raise Panic("unreachable")

    parameters = sampling.SamplingParameters(temperature=0.0)
    item = generation.Generation(request.Request(np.array([1], np.int32), 5, parameters), VOCAB)
    item.guide = Guide()
    running.reserve()
    running.submit(item)
    assert recorder.wait(item, submit(running, [1], 5)) == ["error: unreachable", "length"]


def test_prompt_is_read_in_pieces_and_remembered(running: Any, context: FakeContext, recorder: Recorder) -> None:
    prompt = [position % 20 for position in range(29)]
    first = submit(running, prompt, 3)
    recorder.wait(first)
    assert first.cached_tokens == 0
    again, shorter = submit(running, prompt, 3), submit(running, [*prompt[:10], 31], 3)
    recorder.wait(again, shorter)
    assert again.cached_tokens == 28
    seeded = submit(running, prompt, 3, seed=1)
    recorder.wait(seeded)
    assert seeded.cached_tokens % PIECE == 0


def test_seeded_answers_are_computed_alone(running: Any, context: FakeContext, recorder: Recorder) -> None:
    recorder.wait(submit(running, [1], 30), submit(running, [2], 30))
    assert max(context.batches) == 2
    context.batches.clear()
    recorder.wait(submit(running, [1], 30, seed=1), submit(running, [2], 30))
    assert max(context.batches) == 1


def test_stop_finishes_everything(context: FakeContext, recorder: Recorder) -> None:
    context.slow = True
    made = new_engine(context, recorder)
    made.start()
    items = [submit(made, [1] * 20, 5) for _ in range(4)]
    made.stop()
    assert recorder.wait(*items) == ["cancelled"] * 4
    with pytest.raises(request.QueueFull):
        made.reserve()


def test_short_prompt_does_not_wait_for_a_long_one(running: Any, context: FakeContext, recorder: Recorder) -> None:
    context.held.clear()
    long = submit(running, [1] * 60, 2)
    assert context.entered.wait(20)
    short = submit(running, [2] * 20, 2)
    context.held.set()
    recorder.wait(long, short)
    names = {context.read[0]: "l"}
    # Every second piece is the short one's, which has three, until it is read.
    assert "".join(names.get(sequence, "s") for sequence in context.read) == "lslslslllll"


def test_prompt_log_probs(running: Any, recorder: Recorder) -> None:
    prompt = [3, 4, 5, 9, *range(10, 30)]
    plain = submit(running, prompt, 1)
    recorder.wait(plain)
    scored = submit(running, prompt, 3, prompt_log_probs=True, alternatives=2)
    recorder.wait(scored)
    assert scored.answer == [30, 31, 0]
    assert scored.cached_tokens == 0  # though all of it was in the cache
    scores = scored.prompt_scores
    assert scores.complete
    likely = 5.0 - np.log(np.exp(5.0) + VOCAB - 1)
    expected = [likely] * len(prompt)
    expected[0], expected[3] = 0.0, likely - 5.0  # nothing before it; 9 does not follow 5
    np.testing.assert_allclose(scores.log_probs, expected, rtol=1e-5)
    assert scores.top_ids[0].tolist() == [-1, -1]
    assert scores.top_ids[1:, 0].tolist() == [token + 1 for token in prompt[:-1]]
    np.testing.assert_allclose(scores.top_log_probs[1:, 1], likely - 5.0, rtol=1e-5)


def test_scoring_without_an_answer(running: Any, recorder: Recorder) -> None:
    for prompt in ([7], [1, 2, 3] * 6):
        scored = submit(running, prompt, 0, prompt_log_probs=True)
        assert recorder.wait(scored) == ["length"]
        assert scored.answer == []
        assert scored.prompt_scores.complete


def test_only_the_same_scope_starts_from_the_cache(running: Any, recorder: Recorder) -> None:
    prompt = [position % 20 for position in range(29)]

    def cached(scope: bytes) -> int:
        item = submit(running, prompt, 3, cache_scope=scope)
        recorder.wait(item)
        return int(item.cached_tokens)

    assert cached(b"one") == 0
    assert cached(b"one") == 28
    assert cached(b"") == 0
    assert cached(b"one") == 28  # the other took another slot
    assert cached(b"two") == 0  # and this one that of ""
    assert cached(b"") == 0


def test_positions_of_media_run_beside_their_tokens(running: Any, context: FakeContext, recorder: Recorder) -> None:
    """As with M-RoPE: four embeddings that take three positions, computed in two pieces."""
    computed: list[tuple[int, list[int]]] = []

    def prefill(sequence: int, tokens: np.ndarray, position: int, first_output: int) -> bool:
        computed.append((position, tokens.tolist()))
        context._last, context._first_output = tokens.tolist(), first_output
        return True

    def prefill_embeddings(
        sequence: int, embeddings: np.ndarray, positions: np.ndarray, *, causal: bool, last: bool
    ) -> bool:
        assert causal and not last
        computed.append((int(positions[0, 0]), positions[0].tolist()))
        return True

    def step(steps: Any) -> None:
        ((_, token, position),) = steps
        computed.append((position, [token]))
        context._last, context._first_output = [token], 0

    context.prefill, context.prefill_embeddings, context.step = prefill, prefill_embeddings, step  # type: ignore
    parameters = sampling.SamplingParameters(temperature=0.0)
    made = generation.Generation(request.Request(np.array([1, 2, 7], np.int32), 50, parameters, (2,)), VOCAB)
    parts = [
        multimodal.TokenPart(np.array([1, 2], np.int32)),
        multimodal.EmbeddingPart(2, np.array([[0, 1]], np.int32), 0, False, np.zeros((2, 4), np.float32)),
        multimodal.EmbeddingPart(2, np.array([[1, 2]], np.int32), 3, False, np.zeros((2, 4), np.float32)),
        multimodal.TokenPart(np.array([7], np.int32)),
    ]
    made.set_media(deque(parts), most_output=3)
    assert made.prompt_length == 7
    running.reserve()
    running.submit(made)
    assert recorder.wait(made) == ["length"]
    assert made.answer == [8, 9, 10]
    assert computed == [(0, [1, 2]), (2, [2, 3]), (3, [3, 4]), (5, [7]), (6, [8]), (7, [9])]
    del context.prefill, context.step  # type: ignore
    plain = submit(running, [1, 2, 7], 3)
    assert recorder.wait(plain) == ["length"]
    assert plain.cached_tokens == 0  # nothing of the other was left


def test_whatever_ends_the_thread_is_told(context: FakeContext, recorder: Recorder) -> None:
    made = new_engine(context, recorder)
    made.start()

    def panic(sequence: int, length: int) -> bool:
        raise SystemExit("panic")

    context.keep = panic  # type: ignore[method-assign]
    submit(made, [1], 5)
    with recorder.changed:
        assert recorder.changed.wait_for(lambda: recorder.deaths, 20)
    assert recorder.deaths == ["the thread llama-engine ended with SystemExit('panic')"]
