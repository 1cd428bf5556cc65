"""Clients that leave: their slot is free at once, and the record says how it ended."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.adapter_process import AdapterProcess
from tests.support.metrics import wait_for_metrics, wait_until_idle
from tests.support.response_client import (
    ENDLESS,
    SHORT,
    client_for,
    create,
    events,
    retrieve,
    text_of,
    wait_for,
)


@pytest.fixture
def own(start_adapter: Callable[..., AdapterProcess]) -> AdapterProcess:
    """Its metrics are nobody else's."""
    return start_adapter()


def generating(adapter: AdapterProcess) -> None:
    wait_for_metrics(adapter.url, lambda now: now.value("tritongate_generations_active") == 1, "it does not run")


def send(adapter: AdapterProcess, body: dict[str, Any]) -> socket.socket:
    content = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", adapter.port), timeout=30)
    head = b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    connection.sendall(head % len(content) + b"\r\n" + content)
    return connection


def test_in_the_middle_of_a_stream(own: AdapterProcess) -> None:
    with client_for(own) as client:
        told = events(client, **ENDLESS)
        response_id, text = "", ""
        for event in told:
            if event["type"] == "response.created":
                response_id = event["response"]["id"]
            if event["type"] == "response.output_text.delta":
                text += event["delta"]
                if len(text) > 20:
                    break
        told.close()  # type: ignore[attr-defined]
        wait_until_idle(own.url)
        record = wait_for(client, response_id)
        assert record["status"] == "cancelled"
        assert text_of(record).startswith(text)
        assert all(item["status"] == "incomplete" for item in record["output"])


def test_while_an_answer_in_one_piece_is_made(own: AdapterProcess) -> None:
    """The conversation says nothing of it, and is free again."""
    with client_for(own) as client:
        conversation = client.conversations.create()
        body = {**ENDLESS, **ENDLESS["extra_body"], "conversation": conversation.id}
        body.pop("extra_body")
        connection = send(own, body)
        generating(own)
        connection.close()
        wait_until_idle(own.url)
        response = create(client, **SHORT, conversation=conversation.id)
        items = list(client.conversations.items.list(conversation.id))
        assert len(items) == 2 and items[0].id == response["output"][0]["id"]


def test_a_stream_that_is_not_stored(own: AdapterProcess) -> None:
    with client_for(own) as client:
        told = events(client, **ENDLESS, store=False)
        for event in told:
            if event["type"] == "response.output_text.delta":
                break
        told.close()  # type: ignore[attr-defined]
        wait_until_idle(own.url)
        create(client, **SHORT)


def test_one_that_follows_a_response_in_the_background(own: AdapterProcess) -> None:
    with client_for(own) as client:
        told = events(client, **ENDLESS, background=True)
        for event in told:
            if event["type"] == "response.created":
                response_id = event["response"]["id"]
            if event["type"] == "response.output_text.delta":
                break
        told.close()  # type: ignore[attr-defined]
        wait_for_metrics(own.url, lambda now: now.value("tritongate_requests_in_flight") == 1, "it still follows")
        generating(own)
        assert retrieve(client, response_id)["status"] == "in_progress"
        client.responses.cancel(response_id)
        wait_until_idle(own.url)
