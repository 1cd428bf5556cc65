"""The Prometheus metrics of this process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from adapter.telemetry.latency import LatencyHistogram

REGISTRY = CollectorRegistry()

REQUESTS = Counter(
    "tritongate_requests", "HTTP requests by route and status", ["method", "route", "status"], registry=REGISTRY
)
ERRORS = Counter(
    "tritongate_errors",
    "Errors sent to clients, also in the middle of a stream, by route and code",
    ["route", "code"],
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("tritongate_requests_in_flight", "HTTP requests being answered", registry=REGISTRY)
CANCELLED = Counter(
    "tritongate_cancelled", "Generations that ended because the client left", ["model"], registry=REGISTRY
)
PROMPT_TOKENS = Counter(
    "tritongate_prompt_tokens", "Tokens of prompts and embedded inputs", ["model"], registry=REGISTRY
)
COMPLETION_TOKENS = Counter("tritongate_completion_tokens", "Generated tokens", ["model"], registry=REGISTRY)
ACTIVE_GENERATIONS = Gauge("tritongate_generations_active", "Generations under way", ["model"], registry=REGISTRY)
TRITON_IN_FLIGHT = Gauge(
    "tritongate_triton_requests_in_flight", "Requests under way at a Triton", ["endpoint"], registry=REGISTRY
)
TRITON_READY = Gauge("tritongate_triton_ready", "Whether a Triton gets requests", ["endpoint"], registry=REGISTRY)
TRITON_FAILURES = Counter(
    "tritongate_triton_failures", "How often a Triton could no longer be reached", ["endpoint"], registry=REGISTRY
)
TRITON_RETRIES = Counter(
    "tritongate_triton_retries", "Requests given to another Triton before anything came back", registry=REGISTRY
)

TIME_TO_FIRST_TOKEN = LatencyHistogram(
    "tritongate_time_to_first_token_seconds",
    "From the request's arrival at the engine's door to its first token",
    (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)
INTER_TOKEN_LATENCY = LatencyHistogram(
    "tritongate_inter_token_latency_seconds",
    "Between two tokens of one answer",
    (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
REQUEST_DURATION = LatencyHistogram(
    "tritongate_generation_duration_seconds",
    "From a generation's start to its end",
    (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600),
)
for histogram in (TIME_TO_FIRST_TOKEN, INTER_TOKEN_LATENCY, REQUEST_DURATION):
    REGISTRY.register(histogram)


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
