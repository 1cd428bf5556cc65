"""Results and errors, as `tensorrt_llm.executor` has them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from .sampling_params import SamplingParams


class RequestError(RuntimeError):
    """The error raised when a request fails."""


@dataclass(slots=True)
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str = ""
    lora_ckpt_source: str = "hf"

    def __post_init__(self) -> None:
        if not os.path.exists(self.lora_path):
            raise ValueError(f"lora_path ({self.lora_path}) does not exist.")


@dataclass(slots=True)
class Logprob:
    logprob: float
    rank: int | None = None


@dataclass
class TimingMetrics:
    arrival_time: timedelta
    first_scheduled_time: timedelta
    first_token_time: timedelta
    last_token_time: timedelta


@dataclass
class KvCacheMetrics:
    num_total_allocated_blocks: int
    num_new_allocated_blocks: int
    num_reused_blocks: int


@dataclass
class RequestPerfMetrics:
    timing_metrics: TimingMetrics
    kv_cache_metrics: KvCacheMetrics


@dataclass(slots=True)
class CompletionOutput:
    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    cumulative_logprob: float | None = None
    logprobs: list[Any] = field(default_factory=list)
    prompt_logprobs: list[Any] = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    request_perf_metrics: RequestPerfMetrics | None = None
    _last_token_ids_len: int = field(default=0, init=False, repr=False)

    @property
    def token_ids_diff(self) -> list[int]:
        return self.token_ids[self._last_token_ids_len :]


@dataclass
class Response:
    """What the engine says of one sequence of a request in one step."""

    sequence: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    reason: str | None = None
    final: bool = False
    error: Exception | None = None
    cached_tokens: int = 0
    prompt_logprobs: list[Any] | None = None
    metrics: RequestPerfMetrics | None = None


class RequestOutput:
    """Made by `LLM.generate_async` within a running event loop; iterate it there."""

    def __init__(self, request_id: int, prompt: list[int], params: SamplingParams, engine: Any) -> None:
        self.request_id = request_id
        self.prompt_token_ids = prompt
        self.sampling_params = params
        self.cached_tokens = 0
        self.outputs = [CompletionOutput(index) for index in range(params.n)]
        self._engine = engine
        self._done = False
        self._loop = asyncio.get_running_loop()
        self._responses: asyncio.Queue[Response] = asyncio.Queue()

    @property
    def finished(self) -> bool:
        return self._done

    def abort(self) -> None:
        self._engine.abort(self.request_id)

    def put(self, response: Response) -> None:
        """From the engine's thread."""
        self._loop.call_soon_threadsafe(self._responses.put_nowait, response)

    def __aiter__(self) -> RequestOutput:
        return self

    async def __anext__(self) -> RequestOutput:
        if self._done:
            raise StopAsyncIteration
        self._take(await self._responses.get())
        return self

    def _take(self, response: Response) -> None:
        if response.error is not None:
            raise response.error
        self._done = response.final
        self.cached_tokens = response.cached_tokens
        output = self.outputs[response.sequence]
        output._last_token_ids_len = len(output.token_ids)
        output.token_ids.extend(response.tokens)
        output.logprobs += response.logprobs
        if response.prompt_logprobs is not None:
            output.prompt_logprobs = response.prompt_logprobs
        params = self.sampling_params
        stopped = response.reason == "stop" and output.token_ids[-1] in (params.stop_token_ids or [])
        if stopped and not params.include_stop_str_in_output:
            output.token_ids = output.token_ids[:-1]
        if response.final or response.reason == "cancelled":  # the reason of one among several comes late
            for each in self.outputs if response.reason == "cancelled" else [output]:
                each.finish_reason = response.reason
        output.request_perf_metrics = response.metrics
