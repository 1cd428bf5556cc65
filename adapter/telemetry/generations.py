"""What one generation adds to the metrics: kept by itself while tokens flow, added at its end."""

from __future__ import annotations

import time

from adapter.telemetry import metrics
from adapter.telemetry.latency import LatencyCounts


class GenerationRecord:
    """Times and counts of one generation.

    streaming: whether the engine hands tokens out as they come; otherwise its first step is its last, and says nothing
    about the time to the first token.
    """

    __slots__ = (
        "_inter_token",
        "_last",
        "_running",
        "_started",
        "_streaming",
        "cancelled",
        "completion_tokens",
        "model",
        "prompt_tokens",
    )

    def __init__(self, model: str, prompt_tokens: int, *, streaming: bool) -> None:
        self.model = model
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = 0
        self.cancelled = False
        self._streaming = streaming
        self._started = time.perf_counter()
        self._last = 0.0
        self._inter_token = LatencyCounts(metrics.INTER_TOKEN_LATENCY.bounds)
        self._running = False

    def begin(self) -> None:
        metrics.ACTIVE_GENERATIONS.labels(self.model).inc()
        self._running = True

    def tokens(self, now: float, count: int) -> None:
        """New tokens have arrived at `now` (time.perf_counter)."""
        self.completion_tokens += count
        if self._last:
            # Tokens that came together share the wait.
            self._inter_token.add((now - self._last) / count, count)
        elif self._streaming:
            metrics.TIME_TO_FIRST_TOKEN.observe(self.model, now - self._started)
        self._last = now

    def finish(self, completion_tokens: int) -> None:
        """The answer is complete: its exact count."""
        self.completion_tokens = completion_tokens

    def close(self) -> None:
        """Adds everything to the metrics, once, however the generation ended."""
        if not self._running:
            return
        self._running = False
        metrics.ACTIVE_GENERATIONS.labels(self.model).dec()
        metrics.PROMPT_TOKENS.labels(self.model).inc(self.prompt_tokens)
        metrics.COMPLETION_TOKENS.labels(self.model).inc(self.completion_tokens)
        metrics.INTER_TOKEN_LATENCY.merge(self.model, self._inter_token)
        metrics.REQUEST_DURATION.observe(self.model, time.perf_counter() - self._started)
        if self.cancelled:
            metrics.CANCELLED.labels(self.model).inc()
