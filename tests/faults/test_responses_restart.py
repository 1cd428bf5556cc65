"""An adapter with SQLite is stopped, or killed, and started again: its responses are there, none of them hangs."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from launcher.triton_server import TritonServer
from tests.support.adapter_process import AdapterProcess
from tests.support.response_client import (
    ENDLESS,
    SHORT,
    client_for,
    create,
    events,
    follow,
    resumed,
    retrieve,
    text_of,
    wait_for,
)
from tests.support.response_fold import fold

LONG = {**{name: value for name, value in ENDLESS.items() if name != "extra_body"}, **ENDLESS["extra_body"]}
NOTICED = 25.0  # seconds


@pytest.fixture
def start(triton: TritonServer, tmp_path: Path) -> Callable[..., AdapterProcess]:
    """Adapters with the same store, one after the other."""

    def start(**settings: object) -> AdapterProcess:
        return AdapterProcess(triton.grpc_url, tmp_path / "adapter.log", **settings)  # type: ignore[arg-type]

    return start


def test_killed_and_started_again(start: Callable[..., AdapterProcess]) -> None:
    with start() as adapter, client_for(adapter) as client:
        kept = create(client, **SHORT)
        conversation = client.conversations.create(metadata={"a": "b"})
        said = create(client, **SHORT, conversation=conversation.id)
        watched = follow(lambda: events(client, **ENDLESS, background=True, conversation=conversation.id))
        response_id = watched.events[0]["response"]["id"]
        adapter.process.send_signal(signal.SIGKILL)
        adapter.process.wait(10)
        watched.join(10)
        assert watched.error is not None
    with start() as adapter, client_for(adapter) as client:
        assert retrieve(client, kept["id"]) == kept
        assert create(client, **SHORT, previous_response_id=kept["id"])["previous_response_id"] == kept["id"]
        failed = wait_for(client, response_id, timeout=NOTICED)
        assert failed["status"] == "failed" and "stopped before it was complete" in failed["error"]["message"]
        told = list(resumed(client, response_id))
        assert told[-1]["type"] == "response.failed" and told[-1]["response"] == failed
        assert client.conversations.retrieve(conversation.id).metadata == {"a": "b"}
        create(client, **SHORT, conversation=conversation.id)
        items = list(client.conversations.items.list(conversation.id, order="asc"))
        assert len(items) == 4 and items[1].id == said["output"][0]["id"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_it_says_so_at_once(start: Callable[..., AdapterProcess], number: signal.Signals) -> None:
    """Nothing has to be found out by waiting: the record is complete when the process ends."""
    with start(shutdown_timeout=1) as adapter, client_for(adapter) as client:
        conversation = client.conversations.create()
        watched = follow(lambda: events(client, **ENDLESS, background=True, conversation=conversation.id))
        streamed = follow(lambda: events(client, **ENDLESS))
        ids = [one.events[0]["response"]["id"] for one in (watched, streamed)]
        with client.responses.connect() as connection:
            connection.send({"type": "response.create", **LONG})  # type: ignore[misc]
            ids.append(json.loads(connection.recv_bytes())["response"]["id"])
            while json.loads(connection.recv_bytes())["type"] != "response.output_text.delta":
                pass
            adapter.process.send_signal(number)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    connection.recv_bytes()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012  # the service restarts
        assert adapter.process.wait(20) == 0
        for one in (watched, streamed):
            one.join(10)
            types = [event["type"] for event in one.events]
            assert types[-1] in ("response.failed", "error") or one.error is not None, "it looks complete"
        assert "Traceback" not in adapter.output()
    with start() as adapter, client_for(adapter) as client:
        for response_id in ids:
            failed = retrieve(client, response_id)
            assert failed["status"] == "failed", "it is left running"
            assert "stopped" in failed["error"]["message"] and text_of(failed)
            told = list(resumed(client, response_id))
            assert told[-1]["type"] == "response.failed" and fold(told) == failed
        create(client, **SHORT, conversation=conversation.id)


def test_what_is_soon_complete_may_be(start: Callable[..., AdapterProcess]) -> None:
    with start(shutdown_timeout=30) as adapter, client_for(adapter) as client:
        streamed = follow(lambda: events(client, **{**ENDLESS, "max_output_tokens": 80}))
        adapter.process.send_signal(signal.SIGTERM)
        streamed.join(40)
        assert streamed.error is None
        response = streamed.events[-1]["response"]
        assert response["status"] == "incomplete" and response["usage"]["output_tokens"] == 80
        assert adapter.process.wait(20) == 0
    with start() as adapter, client_for(adapter) as client:
        assert retrieve(client, response["id"]) == response
