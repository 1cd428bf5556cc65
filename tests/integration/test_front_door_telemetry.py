"""What the adapter says of itself: metrics that count right, logs without anybody's text, a description of the API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import collect, exactly, user
from tests.support.metrics import Metrics, wait_for_metrics, wait_until_idle

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"


@pytest.fixture
def fresh(start_adapter: Callable[..., AdapterProcess]) -> AdapterProcess:
    """An adapter that nobody else uses."""
    return start_adapter()


@pytest.fixture
def client(fresh: AdapterProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=fresh.base_url, api_key="any", max_retries=0, timeout=60.0) as client:
        yield client


def test_metrics_move_by_what_was_done(fresh: AdapterProcess, client: openai.OpenAI) -> None:
    model = {"model": models.CHAT}
    request: dict[str, Any] = {**model, "messages": user("Hi"), "logit_bias": {"2": -100}}
    whole = client.chat.completions.create(**request, max_tokens=5)
    streamed = collect(client.chat.completions.create(**request, max_tokens=7, stream=True))
    embedded = client.embeddings.create(model=models.EMBEDDING, input=["a b c", "d"])
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**request, temperature=3)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nothing", messages=user("Hi"))
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")
    left = client.chat.completions.create(**request, max_tokens=3000, stream=True)
    next(iter(left))
    assert Metrics(fresh.url).value("tritongate_generations_active", **model) == 1
    left.close()
    now = wait_until_idle(fresh.url)

    assert whole.usage is not None and streamed.chunks[-1].usage is not None
    prompt = whole.usage.prompt_tokens
    chat = {"method": "POST", "route": CHAT}
    assert now.value("tritongate_requests_total", **chat, status="200") == 2
    assert now.value("tritongate_requests_total", **chat, status="400") == 1
    assert now.value("tritongate_requests_total", **chat, status="404") == 1
    assert now.value("tritongate_requests_total", **chat, status="499") == 1
    assert now.value("tritongate_requests_total", method="POST", route=EMBEDDINGS, status="200") == 1
    assert now.value("tritongate_requests_total", route="/v1/models/{model_id:path}", status="404") == 1
    assert now.value("tritongate_errors_total", route=CHAT, code="decimal_above_max_value") == 1
    assert now.value("tritongate_errors_total", code="model_not_found") == 2
    assert now.value("tritongate_cancelled_total", **model) == 1
    assert now.value("tritongate_prompt_tokens_total", **model) == 3 * prompt
    assert now.value("tritongate_prompt_tokens_total", model=models.EMBEDDING) == embedded.usage.prompt_tokens
    completion = now.value("tritongate_completion_tokens_total", **model)
    assert 12 < completion < 3012
    # Streams only: what comes in one piece has no first token. The one that was left had a first token too.
    assert now.value("tritongate_time_to_first_token_seconds_count", **model) == 2
    between = now.value("tritongate_inter_token_latency_seconds_count", **model)
    assert 6 <= between <= completion - 2
    assert now.value("tritongate_generation_duration_seconds_count", **model) == 3
    assert now.value("tritongate_generation_duration_seconds_sum", **model) > 0
    assert now.types["tritongate_time_to_first_token_seconds"] == "histogram"
    assert now.types["tritongate_requests"] == "counter"


def test_inter_token_latency_of_one_stream(fresh: AdapterProcess, client: openai.OpenAI) -> None:
    collect(
        client.chat.completions.create(
            model=models.CHAT, messages=user("Hi"), max_tokens=9, stream=True, logit_bias={"2": -100}
        )
    )
    now = wait_until_idle(fresh.url)
    assert now.value("tritongate_inter_token_latency_seconds_count") == 8
    assert now.value("tritongate_inter_token_latency_seconds_bucket", le="+Inf") == 8
    assert now.value("tritongate_time_to_first_token_seconds_bucket", le="+Inf") == 1
    assert now.value("tritongate_completion_tokens_total") == 9


def test_labels_are_bounded(fresh: AdapterProcess) -> None:
    """What strangers write into paths and models makes no new time series."""
    with httpx.Client(base_url=fresh.url, timeout=30.0, trust_env=False) as http:
        for number in range(5):
            http.get(f"/path-{number}")
            http.get(f"/v1/models/model-{number}")
            http.post(CHAT, json={"model": f"model-{number}", "messages": user("Hi")})
            http.request(f"METHOD{number}", "/v1/models")
        text = http.get("/metrics").text
    for number in range(1, 5):
        assert f"path-{number}" not in text and f"model-{number}" not in text
        assert f"METHOD{number}" not in text
    wait_for_metrics(
        fresh.url,
        lambda now: now.value("tritongate_requests_total", route="unmatched", status="404") == 5,
        "requests without a route are not counted",
    )


def test_logs_are_json_without_anybodys_text(fresh: AdapterProcess, client: openai.OpenAI) -> None:
    prompt, answer, stop = "PROMPT7391marker", "ANSWER4482marker", "STOP6613marker"
    request: dict[str, Any] = {"model": models.CHAT, "messages": user(prompt), "response_format": exactly(answer)}
    assert answer in (client.chat.completions.create(**request, max_tokens=60).choices[0].message.content or "")
    assert answer in collect(client.chat.completions.create(**request, max_tokens=60, stream=True, stop=stop)).text
    client.embeddings.create(model=models.EMBEDDING, input=prompt)
    # Failures of every kind are told of, also without the text that was their occasion.
    for wrong in ({"temperature": 9}, {"metadata": {prompt: 7}}, {"response_format": {"type": prompt}}):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**{**request, **wrong})
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            **{
                **request,
                "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": prompt}}},
            }
        )
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=f"no-{prompt}", messages=user("Hi"))
    httpx.post(fresh.url + CHAT, content=f'{{"{prompt}', headers={"content-type": "application/json"}, trust_env=False)
    httpx.get(f"{fresh.url}/{prompt}", trust_env=False)
    wait_until_idle(fresh.url)

    entries = [json.loads(line) for line in fresh.output().splitlines()]
    assert entries
    for entry in entries:
        assert {"time", "level", "logger", "message"} <= set(entry)
    log = fresh.output()
    for marker in (prompt, answer, stop):
        assert marker not in log
    requests = [entry for entry in entries if entry["message"] == "request" and entry["route"] == CHAT]
    assert [entry["status"] for entry in requests] == [200, 200, 400, 400, 400, 400, 404, 400]
    served = requests[0]
    assert served["model"] == models.CHAT and served["method"] == "POST" and served["ms"] > 0
    assert served["prompt_tokens"] > 0 and served["completion_tokens"] > 0
    assert len({entry["request_id"] for entry in requests}) == len(requests)


def test_logs_name_the_request_id(fresh: AdapterProcess) -> None:
    httpx.get(f"{fresh.url}/v1/models", headers={"x-request-id": "find-me"}, trust_env=False)
    wait_until_idle(fresh.url)  # a request is logged after its answer has gone out
    assert any(json.loads(line).get("request_id") == "find-me" for line in fresh.output().splitlines())


def test_logs_as_text(start_adapter: Callable[..., AdapterProcess]) -> None:
    adapter = start_adapter(log_format="text")
    httpx.get(f"{adapter.url}/v1/models", trust_env=False)
    wait_until_idle(adapter.url)
    (line,) = [line for line in adapter.output().splitlines() if "route=/v1/models" in line]
    assert "status=200" in line and not line.startswith("{")


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def test_description_of_the_api(adapter_url: str) -> None:
    page = httpx.get(f"{adapter_url}/docs", trust_env=False)
    assert page.status_code == 200 and "text/html" in page.headers["content-type"]
    assert "/openapi.json" in page.text
    description = httpx.get(f"{adapter_url}/openapi.json", trust_env=False).json()
    assert description["openapi"].startswith("3.")
    assert description["info"]["title"] == "Tritongate"
    paths = description["paths"]
    assert {CHAT, EMBEDDINGS, "/v1/models", "/health/live", "/health/ready"} <= set(paths)
    found = list(references(description))
    assert found
    for reference in found:
        node: Any = description
        assert reference.startswith("#/")
        for step in reference[2:].split("/"):
            node = node[step.replace("~1", "/").replace("~0", "~")]
        assert isinstance(node, dict)
    body = paths[CHAT]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"model", "messages", "temperature", "stream", "response_format"} <= set(body["properties"])
    assert {"model", "messages"} <= set(body["required"])
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation.get("summary"), f"{method} {path} has no summary"
            # Each `{name}` of a path is one of the operation's parameters.
            named = {part.strip("{}").partition(":")[0] for part in path.split("/") if part.startswith("{")}
            given = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
            assert given == named, path
