"""Every query of the dashboard and of the alerts is PromQL, over metrics and labels that exist."""

from __future__ import annotations

import re

import pytest

from adapter.telemetry.metrics import REGISTRY
from tests.support.promql import dashboard, queries, selectors

from .repository_files import DEPLOY, ROOT, load

# What Triton exposes: seen on 2.51, those of GPUs and of TensorRT-LLM's C++ backend as their documentation has them.
MODEL = {"model", "version", "instance", "job"}
TRITON = {
    "nv_inference_pending_request_count": MODEL,
    "nv_inference_queue_duration_us": MODEL,
    "nv_inference_request_success": MODEL,
    "nv_inference_request_failure": MODEL | {"reason"},
    "nv_gpu_utilization": {"gpu_uuid", "instance", "job"},
    "nv_gpu_memory_used_bytes": {"gpu_uuid", "instance", "job"},
    "nv_gpu_memory_total_bytes": {"gpu_uuid", "instance", "job"},
    "nv_trt_llm_request_metrics": MODEL | {"request_type"},
    "nv_trt_llm_kv_cache_block_metrics": MODEL | {"kv_cache_block_type"},
    "tritongate_llm_tokens": MODEL | {"direction"},
}
# Values of the label of a family: those of the C++ backend.
VALUES = {
    "request_type": {"waiting", "context", "scheduled", "max", "active"},
    "kv_cache_block_type": {"max", "free", "used", "tokens_per", "fraction", "reused"},
}
PROMETHEUS = {"up": {"instance", "job"}}


PARTS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def adapters_metrics() -> dict[str, set[str]]:
    """Names as Prometheus reads them, each with its labels."""
    found = {}
    for collector in list(REGISTRY._collector_to_names):
        [family] = collector.collect()
        labels = {*getattr(collector, "_labelnames", ("model",)), "instance", "job"}
        for part in PARTS[family.type]:
            found[family.name + part] = labels | ({"le"} if part == "_bucket" else set())
    return found


KNOWN = {**TRITON, **PROMETHEUS, **adapters_metrics()}


@pytest.mark.parametrize("query", queries())
def test_query(query: str) -> None:
    used = list(selectors(query))
    assert used
    for selector in used:
        assert selector.name in KNOWN, selector.name
        for matcher in selector.matchers.matchers:
            assert matcher.name in KNOWN[selector.name], f"{selector.name} has no label {matcher.name}"
            values = VALUES.get(matcher.name)
            assert values is None or set(matcher.value.split("|")) <= values
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
    for label in grouped:
        assert any(label in KNOWN[selector.name] for selector in used), label


def test_a_metric_that_does_not_exist_is_found() -> None:
    [selector] = selectors("sum(rate(tritongate_requests[5m]))")
    assert selector.name not in KNOWN, "the exposition has tritongate_requests_total"


def test_the_engines_metrics_are_those_of_our_own_engine() -> None:
    source = (ROOT / "model_repository" / "tensorrt_llm_api" / "1" / "metrics.py").read_text()
    for name in ("nv_trt_llm_request_metrics", "nv_trt_llm_kv_cache_block_metrics", "tritongate_llm_tokens"):
        assert f'"{name}"' in source


def test_it_shows_what_an_operator_asks_for() -> None:
    used = {selector.name for query in queries() for selector in selectors(query)}
    for name in (
        "tritongate_time_to_first_token_seconds_bucket",
        "tritongate_inter_token_latency_seconds_bucket",
        "tritongate_completion_tokens_total",
        "tritongate_requests_in_flight",
        "tritongate_errors_total",
        "nv_inference_pending_request_count",
        "nv_trt_llm_kv_cache_block_metrics",
    ):
        assert name in used, name


def test_panels_are_whole() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    source = load(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml")["datasources"][0]
    assert source["type"] == "prometheus" and source["isDefault"]
