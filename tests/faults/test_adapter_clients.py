"""Clients that misbehave: they harm nobody but themselves."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import user
from tests.support.metrics import Metrics, wait_until_idle
from tests.support.own_adapter import ENDLESS, ask, client_of, start_stream, status

DISCONNECTS = 200


@pytest.fixture
def own_adapter(start_adapter: Callable[..., AdapterProcess]) -> AdapterProcess:
    return start_adapter()


def connect(adapter: AdapterProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", adapter.port), timeout=30)


def post(connection: socket.socket, body: dict[str, Any], path: str = "/v1/chat/completions") -> None:
    content = json.dumps(body).encode()
    connection.sendall(
        b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
        % (path.encode(), len(content), content)
    )


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Threads:")]
    return int(line.split()[1])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_200_disconnects_leak_nothing(own_adapter: AdapterProcess) -> None:
    """At every stage of a request: before it is complete, before its answer, in the middle of its stream."""
    chance = random.Random(1)
    with client_of(own_adapter) as client:
        for _ in range(3):
            ask(client)
    wait_until_idle(own_adapter.url)
    files, count = open_files(own_adapter.pid), threads(own_adapter.pid)
    for number in range(DISCONNECTS):
        connection = connect(own_adapter)
        stage = number % 5
        if stage == 0:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900\r\n\r\n{")
        elif stage == 1:
            post(connection, {"model": models.EMBEDDING, "input": ["some text"] * 20}, "/v1/embeddings")
        else:
            post(connection, {**ENDLESS, "stream": stage != 2})
        if stage == 4 and number % 40 == 4:
            connection.recv(300)
        else:
            time.sleep(chance.random() * 0.02)
        reset(connection) if number % 2 else connection.close()
    now = wait_until_idle(own_adapter.url)
    assert now.value("tritongate_generations_active") == 0
    deadline = time.monotonic() + 10
    # A few more may belong to the connection that is asking, and to threads that were never needed before.
    while open_files(own_adapter.pid) > files + 3:
        assert time.monotonic() < deadline, f"{open_files(own_adapter.pid)} open files, {files} before"
        time.sleep(0.1)
    assert threads(own_adapter.pid) <= count + 8
    assert "Traceback" not in own_adapter.output()
    with client_of(own_adapter) as client:
        ask(client)
        assert client.embeddings.create(model=models.EMBEDDING, input="x").data


def test_a_client_that_does_not_read_blocks_nobody(own_adapter: AdapterProcess) -> None:
    """Its buffers fill up and its own stream waits; those of others go on."""
    slow = []
    for _ in range(2):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", own_adapter.port))
        post(connection, {**ENDLESS, "max_tokens": 6000, "stream": True, "logprobs": True, "top_logprobs": 20})
        assert connection.recv(10)
        slow.append(connection)
    time.sleep(1)
    with client_of(own_adapter, timeout=30.0) as client:
        for _ in range(3):
            ask(client)
        stream = start_stream(client, **{**ENDLESS, "max_tokens": 20})
        stream.join(30)
        assert stream.error is None and stream.answer.finish_reason == "length"
        assert client.embeddings.create(model=models.EMBEDDING, input="x").data
        assert status(own_adapter, "/health/ready") == 200
    assert Metrics(own_adapter.url).value("tritongate_generations_active") == 2
    for connection in slow:
        reset(connection)
    wait_until_idle(own_adapter.url)


def test_a_client_that_sends_slowly_blocks_nobody(own_adapter: AdapterProcess) -> None:
    content = json.dumps({"model": models.CHAT, "messages": user("Hi"), "max_tokens": 2}).encode()
    with connect(own_adapter) as slow:
        slow.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(content), content[:10])
        )
        with client_of(own_adapter) as client:
            ask(client)
        for position in range(10, len(content)):
            slow.sendall(content[position : position + 1])
        answer = b""
        while received := slow.recv(65536):
            answer += received
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 1000],
    ids=["tls", "no path", "no such version", "zeros"],
)
def test_bytes_that_are_no_http(own_adapter: AdapterProcess, garbage: bytes) -> None:
    with connect(own_adapter) as connection:
        connection.sendall(garbage)
        connection.settimeout(10)
        connection.recv(65536)  # an answer or the end, no hang
    assert status(own_adapter, "/health/live") == 200
    assert "Traceback" not in own_adapter.output()


def test_two_requests_on_one_connection_do_not_wait_for_each_other_to_be_sent(own_adapter: AdapterProcess) -> None:
    """Pipelined: answered in their order."""
    with connect(own_adapter) as connection:
        for content in ("a", "b"):
            post(connection, {"model": models.CHAT, "messages": user(content), "max_tokens": 1})
        received = b""
        while received.count(b"HTTP/1.1 200") < 2 or received.count(b'"finish_reason"') < 2:
            piece = connection.recv(65536)
            assert piece, received
            received += piece


def test_an_answer_that_is_refused_leaves_the_connection_usable(own_adapter: AdapterProcess) -> None:
    with client_of(own_adapter) as client:
        for _ in range(5):
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(model=models.CHAT, messages=user("x"), temperature=5)
        ask(client)
