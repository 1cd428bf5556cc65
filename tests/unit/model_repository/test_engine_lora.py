"""The scheduler of adapters, over a context that computes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_llama import LENGTH, PIECE, FakeContext, Recorder, engine, submit


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


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
