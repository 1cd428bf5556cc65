"""The scheduler over a context that computes nothing."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.model_modules import model_module

engine = model_module("llama_cpp", "engine")
generation = model_module("llama_cpp", "generation")
llama = model_module("llama_cpp", "llama")
multimodal = model_module("llama_cpp", "multimodal")
request = model_module("llama_cpp", "request")
sampling = model_module("llama_cpp", "sampling")

VOCAB, LENGTH, PIECE = 32, 64, 8


class Flag:
    def __init__(self) -> None:
        self.event = threading.Event()
        self.set, self.clear = self.event.set, self.event.clear


class FakeContext:
    """The next token is always the last one plus one; keeps what llama.cpp would hold, and checks positions."""

    batch_size = 16

    def __init__(self) -> None:
        self.abort = Flag()
        self.cache: dict[int, list[int]] = {0: [], 1: []}
        self.batches: list[int] = []
        self.broken = False
        self.slow = False
        self.read: list[int] = []
        self.held = threading.Event()
        self.held.set()
        self.entered = threading.Event()
        self._last: list[int] = []
        self._first_output = 0

    def prefill(self, sequence: int, tokens: np.ndarray, position: int, first_output: int) -> bool:
        assert position == len(self.cache[sequence])
        self.entered.set()
        assert self.held.wait(20)
        if self.broken:
            raise llama.LlamaError("broken")
        if self.slow and self.abort.event.wait(20):
            return False
        self.cache[sequence] += tokens.tolist()
        self.read.append(sequence)
        self._last, self._first_output = tokens.tolist(), first_output
        return True

    def step(self, steps: Any) -> None:
        made = list(steps)
        if self.broken:
            raise llama.LlamaError("broken")
        for sequence, token, position in made:
            assert position == len(self.cache[sequence])
            self.cache[sequence].append(token)
        self.batches.append(len(made))
        self._last, self._first_output = [token for _, token, _ in made], 0

    def logits(self, row: int) -> np.ndarray:
        assert row >= self._first_output
        logits = np.zeros(VOCAB, np.float32)
        logits[(self._last[row] + 1) % VOCAB] = 5.0
        return logits

    def keep(self, sequence: int, length: int) -> bool:
        del self.cache[sequence][length:]
        return True


class Recorder:
    def __init__(self) -> None:
        self.ends: dict[Any, str] = {}
        self.deaths: list[str] = []
        self.changed = threading.Condition()

    def token(self, item: Any, token: Any) -> None:
        time.sleep(0.001)

    def finish(self, item: Any, reason: str) -> None:
        with self.changed:
            assert item not in self.ends
            self.ends[item] = reason
            self.changed.notify_all()

    def fail(self, item: Any, message: str, internal: bool) -> None:
        self.finish(item, f"error: {message}")

    def died(self, what: str) -> None:
        with self.changed:
            self.deaths.append(what)
            self.changed.notify_all()

    def wait(self, *items: Any) -> list[str]:
        with self.changed:
            assert self.changed.wait_for(lambda: all(item in self.ends for item in items), 20)
            return [self.ends[item] for item in items]


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


def new_engine(context: FakeContext, recorder: Recorder) -> Any:
    sizes = {"slots": 2, "context_length": LENGTH, "piece": PIECE, "queue_size": 2}
    return engine.Engine(context, **sizes, receiver=recorder, died=recorder.died)


def submit(running: Any, prompt: list[int], length: int, seed: int | None = None, **more: Any) -> Any:
    parameters = sampling.SamplingParameters(temperature=0.0, seed=seed)
    made = generation.Generation(request.Request(np.array(prompt, np.int32), length, parameters, **more), VOCAB)
    running.reserve()
    running.submit(made)
    return made


def test_answers(running: Any, recorder: Recorder) -> None:
    items = [submit(running, [first], 5) for first in (1, 10, 20, 30)]
    assert recorder.wait(*items) == ["length"] * 4
    assert [item.answer for item in items] == [[2, 3, 4, 5, 6], [*range(11, 16)], [*range(21, 26)], [31, 0, 1, 2, 3]]


def test_places_are_counted(running: Any, context: FakeContext, recorder: Recorder) -> None:
    context.slow = True
    items = [submit(running, [1] * 20, 5) for _ in range(4)]
    with pytest.raises(engine.QueueFull, match="all 2 places"):
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
    with pytest.raises(engine.QueueFull):
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


class FakeAdapters:
    """Notes what is used, and how many tokens are computed with it."""

    def __init__(self) -> None:
        self.task = 0

    def use(self, context: FakeContext, task: int) -> None:
        self.task = task


class AdaptedContext(FakeContext):
    def __init__(self, adapters: FakeAdapters) -> None:
        super().__init__()
        self.adapters = adapters
        self.computed: list[tuple[int, tuple[int, ...]]] = []

    def prefill(self, sequence: int, *rest: Any) -> bool:
        self.computed.append((self.adapters.task, (sequence,)))
        return super().prefill(sequence, *rest)

    def step(self, steps: Any) -> None:
        made = list(steps)
        self.computed.append((self.adapters.task, tuple(sequence for sequence, _, _ in made)))
        super().step(made)


@pytest.mark.parametrize("seed", [None, 1])
def test_each_batch_is_of_one_adapter(recorder: Recorder, seed: int | None) -> None:
    adapters = FakeAdapters()
    context = AdaptedContext(adapters)
    sizes = {"slots": 2, "context_length": LENGTH, "piece": PIECE, "queue_size": 8}
    running = engine.Engine(context, **sizes, receiver=recorder, died=recorder.died, adapters=adapters)
    items = []
    for _ in range(2):
        items += [submit(running, [5, 6, 7], 6, seed, lora_task=task) for task in (0, 3, 3)]
    running.start()
    assert recorder.wait(*items) == ["length"] * 6
    running.stop()
    tasks = {id(item): item.request.lora_task for item in items}
    assert set(tasks.values()) == {0, 3}
    assert {task for task, _ in context.computed} == {0, 3}
    # With two slots, what two of the same adapter write is written together; nothing is with another's.
    together = [task for task, sequences in context.computed if len(sequences) == 2]
    assert (not together) if seed else (3 in together)
    assert sum(len(sequences) for task, sequences in context.computed if task == 0) == 2 * (1 + 5)


def test_prompts_of_another_adapter_are_not_reused(recorder: Recorder) -> None:
    adapters = FakeAdapters()
    running = engine.Engine(
        AdaptedContext(adapters),
        **{"slots": 1, "context_length": LENGTH, "piece": PIECE, "queue_size": 8},
        receiver=recorder,
        died=recorder.died,
        adapters=adapters,
    )
    running.start()
    prompt = list(range(1, 20))
    reused = []
    for task in (0, 0, 1, 1, 0):
        item = submit(running, prompt, 1, lora_task=task)
        assert recorder.wait(item) == ["length"]
        reused.append(item.cached_tokens)
    running.stop()
    assert reused == [0, 18, 0, 18, 0]
