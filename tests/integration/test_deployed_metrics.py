"""What the dashboard, the alerts and the autoscaler ask for is what a running adapter and a running Triton expose."""

from __future__ import annotations

import re
from collections import defaultdict

import httpx
import openai
import pytest

from launcher.ports import LOOPBACK
from launcher.triton_server import TritonServer
from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.promql import queries, selectors

# Prometheus' own; what only a GPU has; what only TensorRT-LLM's engines have (test_tensorrt_llm_api_lifecycle.py).
ELSEWHERE = ("up", "nv_gpu_", "nv_trt_llm_", "tritongate_llm_tokens")
HISTOGRAM = ("_bucket", "_sum", "_count")
SCRAPE = {"instance", "job"}  # labels that Prometheus adds


def exposed(text: str) -> dict[str, set[str]]:
    """The names that may be asked for, each with the labels of its samples: none, where there is no sample yet."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            found.update({name + part: set() for part in (HISTOGRAM if kind == "histogram" else ("",))})
        elif sample := re.match(r"(\w+)\{(.*)\} ", line):
            found[sample[1]] |= set(re.findall(r'(\w+)="', sample[2]))
    return found


@pytest.fixture(scope="module")
def metrics(triton: TritonServer, adapter: AdapterProcess) -> dict[str, set[str]]:
    with openai.OpenAI(base_url=adapter.base_url, api_key="any", max_retries=0, timeout=60) as client:
        prompt = [{"role": "user", "content": "Say hello."}]
        for _ in client.chat.completions.create(
            model=models.CHAT,
            messages=prompt,  # type: ignore[arg-type]
            max_tokens=4,
            stream=True,
        ):
            pass
    found: dict[str, set[str]] = {}
    for url in (adapter.url, f"http://{LOOPBACK}:{triton.ports['metrics']}"):
        found |= exposed(httpx.get(f"{url}/metrics", trust_env=False).raise_for_status().text)
    return found


def test_each_metric_and_label_that_is_asked_for_is_there(metrics: dict[str, set[str]]) -> None:
    asked = [selector for query in queries() for selector in selectors(query)]
    asked = [selector for selector in asked if not selector.name.startswith(ELSEWHERE)]
    assert {selector.name for selector in asked if selector.name.startswith("nv_")}
    for selector in asked:
        assert selector.name in metrics, selector.name
        if labels := metrics[selector.name]:
            missing = {matcher.name for matcher in selector.matchers.matchers} - labels - SCRAPE
            assert not missing, f"{selector.name} has no label {missing}"


def test_what_is_shown_of_generations_has_a_value_after_one(metrics: dict[str, set[str]]) -> None:
    for name in (
        "tritongate_time_to_first_token_seconds_bucket",
        "tritongate_inter_token_latency_seconds_bucket",
        "tritongate_completion_tokens_total",
        "nv_inference_request_success",
    ):
        assert "model" in metrics[name], name
