"""The LLM's counters among Triton's metrics, under the names that TensorRT-LLM's C++ Triton backend gives them."""

from __future__ import annotations

import asyncio
from typing import Any

import triton_python_backend_utils as pb_utils

PAUSE = 1.0  # seconds between two readings of statistics that came to an end
_TIMEOUT = 2.0  # seconds that the LLM waits for the next statistics before it ends their stream

_REQUESTS = {"active": "numActiveRequests", "waiting": "numQueuedRequests", "max": "maxNumActiveRequests"}
_BLOCKS = {
    "max": "maxNumBlocks",
    "free": "freeNumBlocks",
    "used": "usedNumBlocks",
    "tokens_per": "tokensPerBlock",
    "reused": "reusedBlocks",
}


class Metrics:
    """Gauges of requests and KV cache from the LLM's iteration statistics, counters of tokens from the answers.

    Args:
        model, version: labels.
    """

    def __init__(self, model: str, version: str) -> None:
        labels = {"model": model, "version": version}
        gauge, counter = pb_utils.MetricFamily.GAUGE, pb_utils.MetricFamily.COUNTER
        self._families = [
            pb_utils.MetricFamily(name="nv_trt_llm_request_metrics", description="TRT LLM request metrics", kind=gauge),
            pb_utils.MetricFamily(
                name="nv_trt_llm_kv_cache_block_metrics", description="TRT LLM KV cache block metrics", kind=gauge
            ),
            pb_utils.MetricFamily(name="tritongate_llm_tokens", description="Tokens by direction", kind=counter),
        ]
        requests, blocks, tokens = self._families
        self._requests = {
            kind: (field, requests.Metric(labels={**labels, "request_type": kind})) for kind, field in _REQUESTS.items()
        }
        self._blocks = {
            kind: (field, blocks.Metric(labels={**labels, "kv_cache_block_type": kind}))
            for kind, field in _BLOCKS.items()
        }
        self._tokens = {
            kind: tokens.Metric(labels={**labels, "direction": kind}) for kind in ("input", "cached", "output")
        }

    def count(self, prompt: int, cached: int, answer: int) -> None:
        """Adds the tokens of a request that has ended."""
        for kind, tokens in (("input", prompt), ("cached", cached), ("output", answer)):
            self._tokens[kind].increment(tokens)

    async def watch(self, llm: Any) -> None:
        """Follows the LLM's statistics; until cancelled. Without any, the gauges stay at zero."""
        while hasattr(llm, "get_stats_async"):
            try:
                async for statistics in llm.get_stats_async(_TIMEOUT):
                    self._update(statistics)
            except Exception as error:  # none of it is worth an answer
                pb_utils.Logger.log_verbose(f"no statistics: {error!r}")
            await asyncio.sleep(PAUSE)

    def _update(self, statistics: dict[str, Any]) -> None:
        for source, gauges in ((statistics, self._requests), (statistics.get("kvCacheStats") or {}, self._blocks)):
            for field, metric in gauges.values():
                if field in source:
                    metric.set(float(source[field]))

    def close(self) -> None:
        """Metrics before their families: Triton wants it so."""
        self._requests.clear()
        self._blocks.clear()
        self._tokens.clear()
        self._families.clear()
