"""WebSocket mode of the Responses API, with the real client's connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai.resources.responses.responses import ResponsesConnection
from websockets.exceptions import InvalidStatus

from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.metrics import wait_until_idle
from tests.support.response_client import ENDLESS, SHORT, Body, client_for, create, retrieve, text_of, wait_for
from tests.support.response_fold import ResponseFold
from tests.support.response_models import check_event, check_response

REQUEST = {**{name: value for name, value in SHORT.items() if name != "extra_body"}, "seed": 1}
LONG = {**{name: value for name, value in ENDLESS.items() if name != "extra_body"}, **ENDLESS["extra_body"]}


@pytest.fixture
def connection(openai_client: openai.OpenAI) -> Iterator[ResponsesConnection]:
    with openai_client.responses.connect() as connection:
        yield connection


def send(connection: ResponsesConnection, **body: Any) -> None:
    connection.send({"type": "response.create", **body})  # type: ignore[misc]


def received(connection: ResponsesConnection) -> Body:
    event: Body = json.loads(connection.recv_bytes())
    return event


def answer(connection: ResponsesConnection, **body: Any) -> Body:
    """The response that the events come to; each of them is checked."""
    send(connection, **body)
    fold = ResponseFold()
    while not fold.ended:
        event = received(connection)
        assert event["type"] != "error", event
        check_event(event)
        fold.add(event)
    check_response(fold.response)
    return fold.response


def error(connection: ResponsesConnection, **body: Any) -> Body:
    connection.send(body)  # type: ignore[arg-type]
    event = received(connection)
    assert event["type"] == "error", event
    details: Body = event["error"]
    assert details["message"] and details["type"]
    return {**details, "status": event["status"], "stream_id": event.get("stream_id")}


def test_its_responses_are_those_of_http(openai_client: openai.OpenAI, connection: ResponsesConnection) -> None:
    response = answer(connection, **REQUEST)
    assert text_of(response) == text_of(create(openai_client, **SHORT))
    assert retrieve(openai_client, response["id"]) == response


def test_the_client_s_own_events(connection: ResponsesConnection) -> None:
    connection.response.create(
        model=models.CHAT, input="Hi", max_output_tokens=2, temperature=0, previous_response_id=None
    )
    types = []
    for event in connection:
        types.append(event.type)
        if event.type in ("response.completed", "response.incomplete"):
            break
    assert types[:2] == ["response.created", "response.in_progress"]


def test_what_was_not_stored_is_gone_on_from(openai_client: openai.OpenAI, connection: ResponsesConnection) -> None:
    first = answer(connection, **REQUEST, store=False)
    second = answer(connection, **REQUEST, previous_response_id=first["id"], store=False)
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"] + first["usage"]["output_tokens"]
    assert second["previous_response_id"] == first["id"]
    gone = error(connection, type="response.create", **REQUEST, previous_response_id=first["id"])
    assert (gone["code"], gone["status"]) == ("previous_response_not_found", 404)
    with openai_client.responses.connect() as another:
        gone = error(another, type="response.create", **REQUEST, previous_response_id=second["id"])
        assert gone["code"] == "previous_response_not_found"
    with pytest.raises(openai.NotFoundError):
        openai_client.responses.retrieve(second["id"])


def test_a_request_without_an_answer_warms_up(connection: ResponsesConnection) -> None:
    first = answer(connection, **REQUEST, generate=False)
    assert first["output"] == [] and first["status"] == "completed"
    second = answer(connection, **REQUEST, previous_response_id=first["id"])
    plain = answer(connection, **REQUEST)
    assert second["usage"]["input_tokens"] > plain["usage"]["input_tokens"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "type"),
        ({"type": "response.steer", "input": "x", "previous_response_id": "resp_1"}, "type"),
        ({"type": "response.create", **REQUEST, "background": True}, "background"),
        ({"type": "response.create", **REQUEST, "stream": True}, "stream"),
        ({"type": "response.create", **REQUEST, "temperature": 9}, "temperature"),
        ({"type": "response.create", **REQUEST, "model": "none/such"}, "model"),
        ({"type": "response.create", **REQUEST, "stream_id": 7}, "stream_id"),
        ({"type": "response.create", **REQUEST, "previous_response_id": "resp_none"}, "previous_response_id"),
    ],
)
def test_bad_messages_end_nothing(connection: ResponsesConnection, body: Body, param: str) -> None:
    refused = error(connection, **body)
    assert refused["param"] == param and refused["status"] in (400, 404)
    assert answer(connection, **REQUEST)["status"] == "incomplete"


def test_what_is_no_json_ends_nothing(connection: ResponsesConnection) -> None:
    for raw in ("{", "[]", "7", '{"type": "response.create", "input": "\\ud800"}'):
        connection.send_raw(raw)
        event = received(connection)
        assert event["type"] == "error" and event["status"] == 400
    assert answer(connection, **REQUEST)["status"] == "incomplete"


def test_lanes_run_side_by_side(connection: ResponsesConnection) -> None:
    send(connection, **{**LONG, "max_output_tokens": 60}, stream_id="a")
    send(connection, **REQUEST, stream_id="b")
    folds = {"a": ResponseFold(), "b": ResponseFold()}
    ended = []
    while len(ended) < 2:
        event = received(connection)
        lane = event.pop("stream_id")
        folds[lane].add(event)
        if folds[lane].ended:
            ended.append(lane)
    assert ended == ["b", "a"], "one lane waits for the other"
    assert folds["a"].response["usage"]["output_tokens"] == 60


def test_one_lane_is_in_order(connection: ResponsesConnection) -> None:
    send(connection, **{**LONG, "max_output_tokens": 30})
    send(connection, **REQUEST)
    for expected in (30, 8):
        fold = ResponseFold()
        while not fold.ended:
            fold.add(received(connection))
        assert fold.response["usage"]["output_tokens"] == expected


def test_too_much_at_once_is_refused(connection: ResponsesConnection) -> None:
    for _ in range(12):
        send(connection, **REQUEST)
    answered = refused = 0
    while answered + refused < 12:
        event = received(connection)
        if event["type"] == "error":
            assert event["status"] == 503
            refused += 1
        answered += event["type"] == "response.incomplete"
    assert refused and answered >= 2
    for number in range(7):
        assert error(connection, type="x", stream_id=f"lane {number}")["param"] == "type"
        answer_lane(connection, f"lane {number}")
    assert error(connection, type="response.create", **REQUEST, stream_id="one more")["code"] == "too_many_lanes"


def answer_lane(connection: ResponsesConnection, lane: str) -> None:
    send(connection, **{**REQUEST, "max_output_tokens": 1}, stream_id=lane)
    while received(connection)["type"] != "response.incomplete":
        pass


def test_a_client_that_leaves_frees_its_slot(start_adapter: Callable[..., AdapterProcess]) -> None:
    adapter = start_adapter()
    with client_for(adapter) as client:
        with client.responses.connect() as connection:
            send(connection, **LONG)
            while (event := received(connection))["type"] != "response.output_text.delta":
                if event["type"] == "response.created":
                    response_id = event["response"]["id"]
        wait_until_idle(adapter.url)
        assert wait_for(client, response_id)["status"] == "cancelled"


def test_keys_are_asked_for(start_adapter: Callable[..., AdapterProcess]) -> None:
    adapter = start_adapter(api_keys="tg-first, tg-second")
    with client_for(adapter, "tg-wrong") as client, pytest.raises(InvalidStatus) as caught:
        client.responses.connect(max_retries=0).enter()
    assert caught.value.response.status_code in (401, 403)
    with client_for(adapter, "tg-first") as client, client.responses.connect() as connection:
        first = answer(connection, **REQUEST)
    with client_for(adapter, "tg-second") as client, client.responses.connect() as connection:
        gone = error(connection, type="response.create", **REQUEST, previous_response_id=first["id"])
        assert gone["code"] == "previous_response_not_found"
