"""A llama.cpp context that computes nothing, and what the engine's thread tells of the answers, noted."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

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


def new_engine(context: FakeContext, recorder: Recorder) -> Any:
    sizes = {"slots": 2, "context_length": LENGTH, "piece": PIECE, "queue_size": 2}
    return engine.Engine(context, **sizes, receiver=recorder, died=recorder.died)


def submit(running: Any, prompt: list[int], length: int, seed: int | None = None, **more: Any) -> Any:
    parameters = sampling.SamplingParameters(temperature=0.0, seed=seed)
    made = generation.Generation(request.Request(np.array(prompt, np.int32), length, parameters, **more), VOCAB)
    running.reserve()
    running.submit(made)
    return made
