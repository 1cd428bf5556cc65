"""Responses in the background: they go on without their client, can be cancelled, and their stream taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import openai
import pytest

from tests.support.adapter_process import AdapterProcess
from tests.support.metrics import wait_for_metrics, wait_until_idle
from tests.support.response_client import (
    ENDLESS,
    SHORT,
    cancel,
    client_for,
    create,
    events,
    follow,
    resumed,
    retrieve,
    stream,
    text_of,
    wait_for,
)
from tests.support.response_fold import ResponseFold, fold


def test_it_is_queued_and_then_made(openai_client: openai.OpenAI) -> None:
    queued = create(openai_client, **SHORT, background=True)
    assert queued["status"] == "queued" and queued["background"] is True and queued["output"] == []
    ended = wait_for(openai_client, queued["id"])
    assert ended["status"] == "incomplete"
    assert text_of(ended) == text_of(create(openai_client, **SHORT))
    assert fold(resumed(openai_client, queued["id"])) == ended


def test_it_goes_on_when_its_client_leaves(openai_client: openai.OpenAI) -> None:
    fold_, last = ResponseFold(), -1
    told = events(openai_client, **{**ENDLESS, "max_output_tokens": 150}, background=True)
    for event in told:
        fold_.add(event)
        last = event["sequence_number"]
        if event["type"] == "response.output_text.delta":
            break
    told.close()  # type: ignore[attr-defined]
    response_id = fold_.response["id"]
    for event in resumed(openai_client, response_id, last):
        fold_.add(event)
    assert fold_.ended and fold_.response["usage"]["output_tokens"] == 150
    assert retrieve(openai_client, response_id) == fold_.response


def test_it_can_be_read_while_it_is_made(openai_client: openai.OpenAI) -> None:
    followed = follow(lambda: events(openai_client, **ENDLESS, background=True))
    response_id = followed.events[0]["response"]["id"]
    body = wait_for(openai_client, response_id, "in_progress")
    deadline = time.monotonic() + 20
    while not text_of(body):
        assert time.monotonic() < deadline
        body = retrieve(openai_client, response_id)
    assert body["status"] == "in_progress" and body["completed_at"] is None
    cancel(openai_client, response_id)
    followed.join(15)


def test_cancelled_it_ends_at_once(openai_client: openai.OpenAI, adapter: AdapterProcess) -> None:
    followed = follow(lambda: events(openai_client, **ENDLESS, background=True))
    response_id = followed.events[0]["response"]["id"]
    cancelled = cancel(openai_client, response_id)
    assert cancelled["status"] == "cancelled" and cancelled["completed_at"] is None
    assert all(item["status"] == "incomplete" for item in cancelled["output"])
    wait_until_idle(adapter.url)
    followed.join(15)
    assert followed.error is None
    assert "".join(e["delta"] for e in followed.events if e["type"] == "response.output_text.delta") == text_of(
        cancelled
    )
    assert retrieve(openai_client, response_id) == cancelled
    assert cancel(openai_client, response_id) == cancelled, "a second time changes something"


def test_one_that_has_ended_is_not_cancelled(openai_client: openai.OpenAI) -> None:
    _, response = stream(openai_client, **SHORT, background=True)
    assert cancel(openai_client, response["id"]) == response


def test_several_follow_the_same_one(openai_client: openai.OpenAI) -> None:
    first = follow(lambda: events(openai_client, **{**ENDLESS, "max_output_tokens": 120}, background=True))
    response_id = first.events[0]["response"]["id"]
    others = [follow(lambda: resumed(openai_client, response_id)) for _ in range(3)]
    for one in (first, *others):
        one.join(40)
        assert one.error is None
        assert one.events == first.events
    assert fold(first.events) == retrieve(openai_client, response_id)


def test_the_client_s_own_stream_is_taken_up_again(openai_client: openai.OpenAI) -> None:
    last, response_id, text = -1, "", ""
    with openai_client.responses.stream(
        model=ENDLESS["model"],
        input=ENDLESS["input"],
        max_output_tokens=60,
        background=True,
        extra_body=ENDLESS["extra_body"],
    ) as told:
        for event in told:
            last = event.sequence_number
            if event.type == "response.created":
                response_id = event.response.id
            if event.type == "response.output_text.delta":
                text += event.delta
                break
    with openai_client.responses.stream(response_id=response_id, starting_after=last) as rest:
        for event in rest:
            assert event.sequence_number > last
            if event.type == "response.output_text.delta":
                text += event.delta
    assert text == openai_client.responses.retrieve(response_id).output_text


@pytest.fixture
def narrow(start_adapter: Callable[..., AdapterProcess]) -> Iterator[openai.OpenAI]:
    with client_for(start_adapter(max_background=1)) as client:
        yield client


def test_there_is_an_end_to_them(narrow: openai.OpenAI) -> None:
    running = create(narrow, **ENDLESS, background=True)
    with pytest.raises(openai.InternalServerError) as caught:
        create(narrow, **SHORT, background=True)
    assert caught.value.status_code == 503
    create(narrow, **SHORT)
    cancel(narrow, running["id"])
    deadline = time.monotonic() + 10
    while True:  # its place is free when its record is complete, or very soon after
        try:
            _, response = stream(narrow, **SHORT, background=True)
            break
        except openai.InternalServerError:
            assert time.monotonic() < deadline
    assert response["status"] == "incomplete"


def test_a_background_response_fails_within_its_time(start_adapter: Callable[..., AdapterProcess]) -> None:
    adapter = start_adapter(background_timeout=2)
    with client_for(adapter) as client:
        queued = create(client, **ENDLESS, background=True)
        failed = wait_for(client, queued["id"])
        assert failed["status"] == "failed" and failed["error"]["message"]
        told = list(resumed(client, queued["id"]))
        assert told[-1]["type"] == "response.failed" and fold(told) == failed
    wait_for_metrics(adapter.url, lambda now: now.value("tritongate_generations_active") == 0, "it still runs")
