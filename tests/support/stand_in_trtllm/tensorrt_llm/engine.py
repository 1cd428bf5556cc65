"""The thread that writes tokens, one per step for every request in flight."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from .executor import KvCacheMetrics, Logprob, RequestError, RequestOutput, RequestPerfMetrics, Response, TimingMetrics
from .sampling_params import SamplingParams

BLOCK = 8  # tokens of a block of the KV cache


@dataclass(frozen=True)
class Conduct:
    """How the stand-in behaves, from `stand_in.json`.

    log            file for what happens, a JSON object a line
    step           seconds per token
    answer         tokens that every answer consists of before its end token; empty: of a rule, and no end
    fail_to_load   the message that loading fails with
    fail_token     a prompt with this token gets this far (3 tokens), and then a RequestError
    die_token      a prompt with this token ends the engine's processes
    """

    log: str
    step: float = 0.01
    answer: tuple[int, ...] = ()
    fail_to_load: str = ""
    fail_token: int = -1
    die_token: int = -1


def read_conduct(model: Path) -> Conduct:
    content = json.loads((model / "stand_in.json").read_text())
    return Conduct(**{**content, "answer": tuple(content.get("answer", ()))})


@dataclass
class Running:
    result: RequestOutput
    params: SamplingParams
    streaming: bool
    cached: int
    arrival: float
    begun: float = 0.0
    first: float = 0.0
    written: list[list[int]] = field(default_factory=list)
    scores: list[list[Any]] = field(default_factory=list)
    ended: list[str | None] = field(default_factory=list)


class Engine:
    def __init__(self, conduct: Conduct, vocab_size: int, max_batch_size: int) -> None:
        self.conduct = conduct
        self.alive = True
        self.iterations = 0
        self._vocab_size = vocab_size
        self._max_batch_size = max_batch_size
        self._log: TextIO = Path(conduct.log).open("a", buffering=1)  # noqa: SIM115 - for as long as the process lives
        self._waiting: list[Running] = []
        self._active: list[Running] = []
        self._aborted: set[int] = set()
        self._known: list[tuple[str, list[int]]] = []
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def log(self, event: str, **details: Any) -> None:
        self._log.write(json.dumps({"event": event, "time": time.time(), **details}) + "\n")

    @property
    def counts(self) -> tuple[int, int]:
        return len(self._active), len(self._waiting)

    def add(self, result: RequestOutput, streaming: bool, salt: str) -> None:
        prompt, params = result.prompt_token_ids, result.sampling_params
        cached = max((_common(prompt, known) for scope, known in self._known if scope == salt), default=0)
        self._known.append((salt, prompt))
        running = Running(result, params, streaming, min(cached, len(prompt) - 1) // BLOCK * BLOCK, time.monotonic())
        for kept in (running.written, running.scores):
            kept.extend([] for _ in range(params.n))
        running.ended = [None] * params.n
        with self._changed:
            self._waiting.append(running)
            self._changed.notify()

    def abort(self, request_id: int) -> None:
        self.log("abort", id=request_id)
        with self._changed:
            self._aborted.add(request_id)
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()
        self.log("shutdown")

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._active or self._stopping):
                    self._changed.wait()
                if self._stopping:
                    return
                while self._waiting and len(self._active) < self._max_batch_size:
                    running = self._waiting.pop(0)
                    running.begun = time.monotonic()
                    self._active.append(running)
                aborted = self._aborted
                self._aborted = set()
            self.iterations += 1
            self.log("step", ids=[running.result.request_id for running in self._active])
            for running in [*self._active, *self._waiting]:
                if running.result.request_id in aborted:
                    running.result.put(Response(reason="cancelled", final=True, cached_tokens=running.cached))
                    self._drop(running)
            for running in list(self._active):
                prompt = running.result.prompt_token_ids
                if self.conduct.die_token in prompt:
                    self.alive = False
                    return  # and answers nobody any more
                if self.conduct.fail_token in prompt and len(running.written[0]) == 3:
                    running.result.put(Response(error=RequestError("CUDA error: an illegal address")))
                    self._drop(running)
                elif _bad_guide(running.params):
                    running.result.put(Response(error=RequestError("Grammar parser error: at line 1, EOF")))
                    self._drop(running)
                else:
                    self._step(running)
            time.sleep(self.conduct.step)

    def _drop(self, running: Running) -> None:
        for kept in (self._active, self._waiting):
            if running in kept:
                kept.remove(running)

    def _step(self, running: Running) -> None:
        params = running.params
        running.first = running.first or time.monotonic()
        for index, written in enumerate(running.written):
            if running.ended[index] is not None:
                continue
            token = self._next(running, index)
            score = _score(token, len(written), params.logprobs, self._vocab_size) if params.logprobs else None
            written.append(token)
            if score is not None:
                running.scores[index].append(score)
            running.ended[index] = _ending(token, written, params)
            final = all(running.ended)
            if not running.streaming and not running.ended[index]:
                continue
            first = len(written) == 1 or not running.streaming
            running.result.put(
                Response(
                    sequence=index,
                    tokens=[token] if running.streaming else list(written),
                    logprobs=([score] if running.streaming else running.scores[index]) if score is not None else [],
                    reason=running.ended[index],
                    final=final,
                    cached_tokens=running.cached,
                    prompt_logprobs=self._prompt_scores(running) if first else None,
                    metrics=_metrics(running) if running.ended[index] and params.return_perf_metrics else None,
                )
            )
            if final:
                self._drop(running)

    def _next(self, running: Running, index: int) -> int:
        position, answer, params = len(running.written[index]), self.conduct.answer, running.params
        if answer:
            if position >= len(answer) and not params.ignore_eos and position >= (params.min_tokens or 0):
                return params.end_id or 0
            return answer[(position + index) % len(answer)]
        base = sum(running.result.prompt_token_ids) + (params.seed or 0)
        return 1000 + (base + 7 * position + 131 * index) % 1000

    def _prompt_scores(self, running: Running) -> list[Any] | None:
        count = running.params.prompt_logprobs
        if count is None:
            return None
        prompt = running.result.prompt_token_ids
        return [_score(token, position, count, self._vocab_size) for position, token in enumerate(prompt[1:])]


def _ending(token: int, written: list[int], params: SamplingParams) -> str | None:
    if token == params.end_id and not params.ignore_eos:
        return "stop"
    if token in (params.stop_token_ids or ()):
        return "stop"
    return "length" if len(written) >= params.max_tokens else None


def _score(token: int, position: int, count: int, vocab_size: int) -> dict[int, Logprob]:
    """The `count` likeliest and the token; at every third place the token is not among the likeliest."""
    others = [(token + 1 + step) % vocab_size for step in range(count)]
    if position % 3 == 2:
        made = {other: Logprob(-0.5 - step, step + 1) for step, other in enumerate(others)}
        made[token] = Logprob(-20.0, 900)
        return made
    ids = [token, *others][: max(1, count)]
    return {each: Logprob(-0.25 - step, step + 1) for step, each in enumerate(ids)}


def _bad_guide(params: SamplingParams) -> bool:
    """Three open brackets anywhere in a guide stand for one that the engine's compiler refuses."""
    guide = params.guided_decoding
    return guide is not None and "(((" in f"{guide.json} {guide.regex} {guide.grammar} {guide.structural_tag}"


def _metrics(running: Running) -> RequestPerfMetrics:
    times = [running.arrival, running.begun, running.first, time.monotonic()]
    blocks = len(running.result.prompt_token_ids) // BLOCK + 1
    reused = running.cached // BLOCK
    return RequestPerfMetrics(
        TimingMetrics(*(timedelta(seconds=moment) for moment in times)), KvCacheMetrics(blocks, blocks - reused, reused)
    )


def _common(one: list[int], other: list[int]) -> int:
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count
