"""Responses whose tools this server runs: real MCP servers, a web search, the real engine, and the real client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from launcher.triton_server import TritonServer
from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.mcp_server import RunningMCP, mcp_server
from tests.support.response_fold import ResponseFold
from tests.support.response_models import check_event, check_response
from tests.support.search_server import RunningSearch, search_server

TOOL_TIMEOUT = 3.0
QUESTION = "How warm is it in Ulm?"


@pytest.fixture(scope="module")
def weather() -> Iterator[RunningMCP]:
    with mcp_server(token="s3cret-token") as running:
        yield running


@pytest.fixture(scope="module")
def searched() -> Iterator[RunningSearch]:
    with search_server() as running:
        yield running


@pytest.fixture(scope="module")
def equipped(
    triton: TritonServer, weather: RunningMCP, searched: RunningSearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AdapterProcess]:
    """An adapter that may use the servers of this module."""
    with AdapterProcess(
        triton.grpc_url,
        tmp_path_factory.mktemp("equipped") / "adapter.log",
        mcp_allowed_hosts="127.0.0.1",
        mcp_ports=str(weather.port),
        tool_timeout=TOOL_TIMEOUT,
        web_search_url=searched.url,
    ) as process:
        yield process


@pytest.fixture
def client(equipped: AdapterProcess, weather: RunningMCP) -> Iterator[openai.OpenAI]:
    weather.calls.clear()
    weather.methods.clear()
    weather.release.clear()
    weather.cancelled.clear()
    weather.answer = None
    with openai.OpenAI(base_url=equipped.base_url, api_key="any", max_retries=0, timeout=60) as client:
        yield client


def mcp(server: RunningMCP, **more: Any) -> dict[str, Any]:
    tool = {
        "type": "mcp",
        "server_label": "weather",
        "server_url": server.url,
        "authorization": "s3cret-token",
        "require_approval": "never",
    }
    return {**tool, **more}


def request(server: RunningMCP, tool: str = "temperature", **more: Any) -> dict[str, Any]:
    """One that has the model call `tool` first."""
    return {
        "model": models.CHAT,
        "input": QUESTION,
        "tools": [mcp(server, **more.pop("mcp", {}))],
        "tool_choice": {"type": "mcp", "server_label": "weather", "name": tool},
        "temperature": 0,
        "max_output_tokens": 200,
        "max_tool_calls": 1,
        "extra_body": {"seed": 1},  # decoded alone: what others ask at the time changes nothing
        **more,
    }


def create(client: openai.OpenAI, **asked: Any) -> dict[str, Any]:
    """The response as it came over the wire: the client makes other numbers of some."""
    body: dict[str, Any] = client.responses.with_raw_response.create(**asked).http_response.json()
    check_response(body)
    return body


def retrieve(client: openai.OpenAI, response_id: str) -> dict[str, Any]:
    body: dict[str, Any] = client.responses.with_raw_response.retrieve(response_id).http_response.json()
    check_response(body)
    return body


def stream(client: openai.OpenAI, **asked: Any) -> tuple[list[str], dict[str, Any]]:
    """Types of the events, and the response that they make."""
    fold, types = ResponseFold(), []
    with client.responses.with_streaming_response.create(stream=True, **asked) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                check_event(event)
                fold.add(event)
                types.append(event["type"])
    assert fold.ended
    check_response(fold.response)
    return types, fold.response


def text_of(message: dict[str, Any]) -> str:
    assert message["type"] == "message"
    text: str = message["content"][0]["text"]
    return text


def test_a_tool_is_called_and_the_model_answers(client: openai.OpenAI, weather: RunningMCP) -> None:
    response = create(client, **request(weather))
    listing, call, message = response["output"]
    assert [tool["name"] for tool in listing["tools"]][:2] == ["temperature", "calibrate"]
    assert (call["type"], call["name"], call["server_label"]) == ("mcp_call", "temperature", "weather")
    city = json.loads(call["arguments"])["city"]
    assert call["output"] == f"It is 21 degrees in {city}." and call["status"] == "completed"
    assert "21" in text_of(message)
    assert response["status"] == "completed" and weather.calls == ["temperature"]
    assert retrieve(client, response["id"]) == response


def test_the_stream_tells_the_same(client: openai.OpenAI, weather: RunningMCP) -> None:
    types, response = stream(client, **request(weather))
    named = [name for name in types if "mcp" in name and not name.endswith("delta")]
    assert named == [
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.completed",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.done",
        "response.mcp_call.completed",
    ]
    assert response["status"] == "completed" and response["output"][-1]["type"] == "message"
    assert retrieve(client, response["id"]) == response


def test_approval(client: openai.OpenAI, weather: RunningMCP) -> None:
    always = {"mcp": {"require_approval": "always"}}
    first = create(client, **request(weather, **always))
    _, asked = first["output"]
    assert (asked["type"], asked["name"], first["status"]) == ("mcp_approval_request", "temperature", "completed")
    assert weather.calls == []
    listed = weather.methods.count("POST")

    def answer(approve: bool, **more: Any) -> list[dict[str, Any]]:
        reply = {"type": "mcp_approval_response", "approval_request_id": asked["id"], "approve": approve, **more}
        follow = request(weather, **always, tool_choice="none", previous_response_id=first["id"], input=[reply])
        output: list[dict[str, Any]] = create(client, **follow)["output"]
        return output

    (message,) = answer(False, reason="it is a secret")
    assert message["type"] == "message" and weather.calls == []
    assert weather.methods.count("POST") == listed  # the context has the tools: nothing was asked of the server
    call, message = answer(True)
    assert call["approval_request_id"] == asked["id"] and call["arguments"] == asked["arguments"]
    assert call["output"].startswith("It is 21 degrees in ") and message["type"] == "message"
    assert weather.calls == ["temperature"]


def test_an_approved_call_is_streamed(client: openai.OpenAI, weather: RunningMCP) -> None:
    always = {"mcp": {"require_approval": "always"}}
    first = create(client, **request(weather, **always))
    reply = {"type": "mcp_approval_response", "approval_request_id": first["output"][-1]["id"], "approve": True}
    follow = request(weather, **always, tool_choice="none", previous_response_id=first["id"], input=[reply])
    types, response = stream(client, **follow)
    assert types.count("response.mcp_call.completed") == 1
    assert [item["type"] for item in response["output"]] == ["mcp_call", "message"]


def test_a_tool_that_fails(client: openai.OpenAI, weather: RunningMCP) -> None:
    types, response = stream(client, **request(weather, "calibrate"))
    assert "response.mcp_call.failed" in types and types[-1] == "response.completed"
    call = response["output"][1]
    assert call["status"] == "failed" and call["output"] is None
    assert call["error"]["type"] == "mcp_tool_execution_error"


def test_a_tool_that_takes_too_long(client: openai.OpenAI, weather: RunningMCP) -> None:
    response = create(client, **request(weather, "forecast"))
    call = response["output"][1]
    assert call["status"] == "failed" and response["status"] == "completed"
    assert call["error"]["message"] == f"The tool did not answer within {TOOL_TIMEOUT:g} seconds."
    assert weather.cancelled.wait(10)


def test_cancelled_in_the_middle_of_a_call(client: openai.OpenAI, weather: RunningMCP) -> None:
    response = client.responses.create(**request(weather, "forecast"), background=True)
    deadline = time.monotonic() + 30
    while not weather.calls:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert client.responses.cancel(response.id).status == "cancelled"
    assert weather.cancelled.wait(10)
    body = retrieve(client, response.id)
    assert body["status"] == "cancelled" and body["output"][1]["status"] == "incomplete"


def test_output_that_is_too_long_for_the_model(client: openai.OpenAI, weather: RunningMCP) -> None:
    """It is cut, and still more than the context of a small model: the request fails, and says why."""
    types, response = stream(client, **request(weather, "flood"))
    assert types[-1] == "response.failed" and response["error"]["type"] == "context_length_exceeded"
    call = response["output"][1]
    assert call["status"] == "completed" and call["output"].endswith("more characters were cut off]")


def test_a_server_that_does_not_answer(client: openai.OpenAI, weather: RunningMCP) -> None:
    wrong = {"mcp": {"authorization": "s3cret-other"}}
    with pytest.raises(openai.APIStatusError) as error:
        client.responses.create(**request(weather, **wrong))
    assert error.value.status_code == 424 and error.value.code == "tool_unavailable"
    assert "asks for an authorization that this request has not" in error.value.message
    assert "s3cret" not in error.value.message
    types, response = stream(client, **request(weather, **wrong))
    assert types[-1] == "response.failed" and "response.mcp_list_tools.failed" in types
    assert response["status"] == "failed" and "authorization" in response["output"][0]["error"]


def test_inner_servers_are_refused_by_default(openai_client: openai.OpenAI, weather: RunningMCP) -> None:
    weather.heads.clear()
    with pytest.raises(openai.APIStatusError, match="names a port that this server does not fetch from"):
        openai_client.responses.create(**request(weather))
    with pytest.raises(openai.APIStatusError, match="has no address on the public internet"):
        openai_client.responses.create(**request(weather, mcp={"server_url": "http://127.0.0.1/mcp"}))
    assert not weather.heads


def test_names_that_clash(client: openai.OpenAI, weather: RunningMCP) -> None:
    second = mcp(weather, server_label="second", allowed_tools=["temperature"])
    own = {"type": "function", "name": "temperature", "parameters": {"type": "object", "properties": {}}}
    choice = {"type": "mcp", "server_label": "second", "name": "temperature"}
    asked = request(weather, mcp={"allowed_tools": ["temperature", "photo"]}, tool_choice=choice)
    response = create(client, **{**asked, "tools": [own, *asked["tools"], second]})
    first, other, call, *_ = response["output"]
    assert [tool["name"] for tool in first["tools"]] == ["temperature", "photo"]
    assert [tool["name"] for tool in other["tools"]] == ["temperature"]
    assert (call["server_label"], call["name"]) == ("second", "temperature")
    assert call["status"] == "completed" and weather.calls == ["temperature"]


def test_secrets_are_shown_nowhere(client: openai.OpenAI, weather: RunningMCP, equipped: AdapterProcess) -> None:
    response = create(client, **request(weather, mcp={"headers": {"X-Key": "s3cret-key"}}))
    assert weather.heads[-1]["x-key"] == "s3cret-key"
    kept = retrieve(client, response["id"])
    assert "s3cret" not in json.dumps([response, kept]) + equipped.output()
    assert kept["tools"][0]["server_url"] == weather.url
    store = equipped.log.parent.glob("*.sqlite*")
    assert not any(b"s3cret" in file.read_bytes() for file in store)


def searching(**more: Any) -> dict[str, Any]:
    return {
        "model": models.CHAT,
        "instructions": "Answer with the results of the search.",
        "input": "Tell me the times of high water at Husum.",
        "tools": [{"type": "web_search", "search_context_size": "low"}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 0,
        "max_output_tokens": 200,
        "max_tool_calls": 1,
        "extra_body": {"seed": 1},  # decoded alone: what others ask at the time changes nothing
        **more,
    }


def test_web_search(client: openai.OpenAI, searched: RunningSearch) -> None:
    types, response = stream(client, **searching(include=["web_search_call.action.sources"]))
    search, message = response["output"]
    named = [name for name in types if "web_search" in name]
    assert named == [f"response.web_search_call.{state}" for state in ("in_progress", "searching", "completed")]
    assert search["status"] == "completed" and search["action"]["query"] == searched.queries[-1]["q"]
    assert search["action"]["sources"][0] == {"type": "url", "url": "https://tides.example/north-sea"}
    assert "04:12" in text_of(message)  # the model has read the results
    assert retrieve(client, response["id"]) == response


def test_pages_are_cited(client: openai.OpenAI) -> None:
    """Small models do not cite of their own accord: this one is held to an answer that does."""
    answer = {"type": "object", "properties": {"said": {"enum": ["At 04:12 [1], not [9]."]}}, "required": ["said"]}
    held = {"format": {"type": "json_schema", "name": "answer", "schema": answer}}
    types, response = stream(client, **searching(text=held))
    text = text_of(response["output"][-1])
    (citation,) = response["output"][-1]["content"][0]["annotations"]
    assert text[citation.pop("start_index") : citation.pop("end_index")] == "[1]"
    page = {"url": "https://tides.example/north-sea", "title": "Tide tables of the North Sea"}
    assert citation == {"type": "url_citation", **page}
    assert types.count("response.output_text.annotation.added") == 1


def test_without_a_search_engine_the_tool_is_refused(start_adapter: Callable[..., AdapterProcess]) -> None:
    client = openai.OpenAI(base_url=start_adapter().base_url, api_key="any", max_retries=0)
    with client, pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model=models.CHAT, input="x", tools=[{"type": "web_search"}])
    assert error.value.param == "tools[0].type" and "TRITONGATE_WEB_SEARCH_URL" in error.value.message
