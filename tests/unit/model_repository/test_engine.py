"""The scheduler over a context that computes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.model_modules import model_module

engine = model_module("llama_cpp", "engine")
generation = model_module("llama_cpp", "generation")
llama = model_module("llama_cpp", "llama")
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
        self._last: list[int] = []

    def prefill(self, sequence: int, tokens: np.ndarray, position: int, last: bool) -> bool:
        assert position == len(self.cache[sequence])
        if self.broken:
            raise llama.LlamaError("broken")
        if self.slow and self.abort.event.wait(20):
            return False
        self.cache[sequence] += tokens.tolist()
        self._last = tokens.tolist()
        return True

    def step(self, steps: Any) -> None:
        made = list(steps)
        if self.broken:
            raise llama.LlamaError("broken")
        for sequence, token, position in made:
            assert position == len(self.cache[sequence])
            self.cache[sequence].append(token)
        self.batches.append(len(made))
        self._last = [token for _, token, _ in made]

    def logits(self, row: int) -> np.ndarray:
        logits = np.zeros(VOCAB, np.float32)
        logits[(self._last[row] + 1) % VOCAB] = 5.0
        return logits

    def keep(self, sequence: int, length: int) -> bool:
        del self.cache[sequence][length:]
        return True


class Recorder:
    def __init__(self) -> None:
        self.ends: dict[Any, str] = {}
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
    made = engine.Engine(context, slots=2, context_length=LENGTH, piece=PIECE, queue_size=2, receiver=recorder)
    made.start()
    yield made
    made.stop()


def submit(running: Any, prompt: list[int], length: int, seed: int | None = None) -> Any:
    parameters = sampling.SamplingParameters(temperature=0.0, seed=seed)
    made = generation.Generation(request.Request(np.array(prompt, np.int32), length, parameters), VOCAB)
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
    made = engine.Engine(context, slots=2, context_length=LENGTH, piece=PIECE, queue_size=2, receiver=recorder)
    made.start()
    items = [submit(made, [1] * 20, 5) for _ in range(4)]
    made.stop()
    assert recorder.wait(*items) == ["cancelled"] * 4
    with pytest.raises(engine.QueueFull):
        made.reserve()
