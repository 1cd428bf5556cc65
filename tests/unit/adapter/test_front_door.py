"""The front door as ASGI: who comes in, what is counted, and what an error says."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from adapter.errors import APIError
from adapter.front_door import FrontDoor
from adapter.request_context import context_of
from adapter.security.keys import KeyRing, hash_key
from adapter.telemetry import logs, metrics

Message = dict[str, Any]
App = Callable[..., Awaitable[None]]
SECRET = "the text of a prompt"


class Answer:
    """What came out of the application."""

    def __init__(self, messages: list[Message]) -> None:
        (start,) = [message for message in messages if message["type"] == "http.response.start"]
        self.status = start["status"]
        self.header_list = [(name.decode(), value.decode()) for name, value in start["headers"]]
        self.headers = dict(self.header_list)
        self.body = b"".join(message.get("body", b"") for message in messages[1:])

    @property
    def error(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/json"
        assert int(self.headers["content-length"]) == len(self.body)
        (key,) = json.loads(self.body)
        assert key == "error"
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


async def hello(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]})
    await send({"type": "http.response.body", "body": b"hello " + body})


async def ask(
    door: FrontDoor,
    *headers: tuple[bytes, bytes],
    path: str = "/v1/models",
    host: bytes | None = b"localhost",
    body: bytes = b"",
) -> Answer:
    given = list(headers) + ([(b"host", host)] if host is not None else [])
    scope = {"type": "http", "method": "POST", "path": path, "headers": given}
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await door(scope, receive, send)
    return Answer(sent)


def door(app: App = hello, keys: list[str] | None = None, *, requests: int = 10, body: int = 100) -> FrontDoor:
    return FrontDoor(app, keys=KeyRing(keys or [], None), max_requests=requests, max_body=body)


def bearer(key: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + key.encode()


async def test_a_request_passes() -> None:
    answer = await ask(door(), body=b"world")
    assert (answer.status, answer.body) == (200, b"hello world")
    assert answer.headers["x-app"] == "1"


async def test_keys() -> None:
    locked = door(keys=["one", "two"])
    for header in (bearer("one"), bearer("two"), (b"authorization", b"bearer  one ")):
        assert (await ask(locked, header)).status == 200


@pytest.mark.parametrize(
    "headers",
    [[], [(b"authorization", b"")], [(b"authorization", b"Bearer")], [(b"authorization", b"Bearer  ")],
     [(b"authorization", b"one")], [(b"authorization", b"Basic b25l")], [(b"api-key", b"one")]],
)  # fmt: skip
async def test_no_key(headers: list[tuple[bytes, bytes]]) -> None:
    answer = await ask(door(keys=["one"]), *headers)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert (answer.error["type"], answer.error["param"], answer.error["code"]) == ("invalid_request_error", None, None)
    assert answer.error["message"].startswith("You didn't provide an API key.")


@pytest.mark.parametrize("key", ["wrong", "One", hash_key("one"), "\x00", "ü"])
async def test_a_wrong_key(key: str) -> None:
    answer = await ask(door(keys=["one"]), bearer(key))
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert answer.error["message"].startswith("Incorrect API key provided")
    assert "www-authenticate" in answer.headers and "x-request-id" in answer.headers


async def test_the_application_learns_whose_key_it_is() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(context_of(scope).key_id)
        await hello(scope, receive, send)

    locked = door(app, keys=["one", "two"])
    for key in ("one", "two", "one"):
        await ask(locked, bearer(key))
    assert seen[0] == seen[2] != seen[1] and seen[0] is not None and "one" not in seen[0]


async def test_an_emptied_keys_file_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("")
    locked = FrontDoor(hello, keys=KeyRing([], file), max_requests=1, max_body=1)
    assert (await ask(locked, bearer("any"))).status == 401


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/docs", "/openapi.json"])
async def test_what_is_open_to_everybody(path: str) -> None:
    assert (await ask(door(keys=["one"]), path=path)).status == 200
    assert (await ask(door(), path=path, host=b"10.0.0.5")).status == 200


@pytest.mark.parametrize(
    "path", ["/metrics", "/v1/models", "/", "/health", "/health/live/", "//health/live", "/docs/x"]
)
async def test_what_is_not(path: str) -> None:
    assert (await ask(door(keys=["one"]), path=path)).status == 401


@pytest.mark.parametrize("host", [b"evil.example", b"192.168.1.2:8000", b"", b"\xff", None])
async def test_a_foreign_host_without_keys(host: bytes | None) -> None:
    answer = await ask(door(), host=host)
    assert (answer.status, answer.error["code"]) == (403, "key_required")
    assert "tritongate keys new" in answer.error["message"]


async def test_a_key_makes_every_name_good() -> None:
    assert (await ask(door(keys=["one"]), bearer("one"), host=b"gateway.example")).status == 200


async def test_an_announced_body_that_is_too_large() -> None:
    answer = await ask(door(body=100), (b"content-length", b"101"))
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


async def test_a_body_that_turns_out_too_large() -> None:
    answer = await ask(door(body=100), body=b"x" * 101)
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert (await ask(door(body=100), body=b"x" * 100)).status == 200


async def test_as_many_requests_as_there_is_room_for() -> None:
    going_on = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await going_on.wait()
        await hello(scope, receive, send)

    full = door(slow, requests=2)
    running = [asyncio.ensure_future(ask(full, path="/slow")) for _ in range(2)]
    await asyncio.sleep(0)
    answer = await ask(full)
    assert (answer.status, answer.error["type"], answer.error["code"]) == (503, "server_error", "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await ask(full, path="/health/ready")).status == 200
    going_on.set()
    assert [one.status for one in await asyncio.gather(*running)] == [200, 200]
    assert (await ask(full)).status == 200


async def test_room_is_given_back_however_a_request_ends() -> None:
    async def ends(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/cancelled":
            raise asyncio.CancelledError
        if scope["path"] == "/refused":
            raise APIError(400, "no")
        if scope["path"] == "/broken":
            raise RuntimeError("x")
        await hello(scope, receive, send)

    small = door(ends, requests=1)
    before = metrics.IN_FLIGHT._value.get()
    for path, status in (("/refused", 400), ("/broken", 500), ("/cancelled", 503)):
        assert (await ask(small, path=path)).status == status
    assert (await ask(small, host=b"evil")).status == 403
    assert (await ask(small)).status == 200
    assert metrics.IN_FLIGHT._value.get() == before


@pytest.mark.parametrize("given", [b"abc", b"req_1", b"a.b:c-d_E9", b"x" * 128])
async def test_the_clients_request_id_is_taken_over(given: bytes) -> None:
    answer = await ask(door(), (b"x-request-id", given))
    assert [value for name, value in answer.header_list if name == "x-request-id"] == [given.decode()]


@pytest.mark.parametrize(
    "given", [b"", b"x" * 129, b"a b", b"a\r\nset-cookie: x", b"a\n", b'"', b"<script>", b"\xc3\xbc", b"\x00"]
)
async def test_a_harmful_request_id_is_replaced(given: bytes) -> None:
    answers = [await ask(door(), (b"x-request-id", given)) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert all(made.startswith("req_") and len(made) == 36 for made in ids) and ids[0] != ids[1]


async def test_a_refusal_of_the_application() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise APIError(404, "none", param="model", code="model_not_found", headers={"x-more": "1"})

    answer = await ask(door(app), (b"x-request-id", b"mine"))
    assert (answer.status, answer.headers["x-more"], answer.headers["x-request-id"]) == (404, "1", "mine")
    assert answer.error == {
        "message": "none",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


async def test_an_unexpected_exception_says_nothing_to_the_client(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError(f"{SECRET} in /srv/adapter/secret.py")

    with caplog.at_level(logging.INFO, "tritongate"):
        answer = await ask(door(app), (b"x-request-id", b"mine"))
    assert answer.status == 500
    assert (answer.error["type"], answer.error["code"]) == ("server_error", "internal_error")
    assert SECRET.encode() not in answer.body and b"secret.py" not in answer.body and b"Runtime" not in answer.body
    failures = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.fields["request_id"] for record in failures] == ["mine"]  # type: ignore[attr-defined]


async def test_a_server_that_stops_says_so() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    answer = await ask(door(app))
    assert (answer.status, answer.error["type"]) == (503, "server_error")
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_failure_after_the_answer_began_breaks_it_off() -> None:
    """A second status cannot be sent. The answer stays without its last part, for which uvicorn closes the connection;
    the exception does not reach uvicorn, which would log its text."""
    sent: list[Message] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
    await door(app)(scope, hello, send)
    assert [message["type"] for message in sent] == ["http.response.start"]


async def test_one_line_of_log_per_request_without_the_prompt(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        context_of(scope).fields["model"] = "m"
        await hello(scope, receive, send)

    with caplog.at_level(logging.INFO, "tritongate"):
        await ask(door(app, keys=["one"]), bearer("one"), body=SECRET.encode())
        await ask(door(app, keys=["one"]), bearer("not-this"), path="/v1/" + SECRET)
    first, second = (record.fields for record in caplog.records)  # type: ignore[attr-defined]
    assert first["status"] == 200 and first["method"] == "POST" and first["ms"] >= 0 and first["model"] == "m"
    assert first["key"] and "error" not in first
    assert second["status"] == 401 and second["error"] == "invalid_api_key" and "key" not in second
    for text in (SECRET, "not-this", "one"):
        assert text not in repr((first, second))


async def test_the_log_names_the_key_and_metrics_do_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{hash_key('one')} laptop of\tAda\x1b[2J\n{hash_key('two')}\n{hash_key('three')} {'n' * 500}\n")
    locked = FrontDoor(hello, keys=KeyRing([], file), max_requests=1, max_body=1)
    with caplog.at_level(logging.INFO, "tritongate"):
        for key in ("one", "two", "three"):
            assert (await ask(locked, bearer(key))).status == 200
    one, two, three = (record.fields for record in caplog.records)  # type: ignore[attr-defined]
    assert (one["key"], one["key_name"]) == (hash_key("one")[7:19], "laptop of Ada [2J")
    assert two["key"] and "key_name" not in two
    assert three["key_name"] == "n" * 64
    assert b"laptop" not in metrics.exposition() and one["key"].encode() not in metrics.exposition()


async def test_requests_and_errors_are_counted() -> None:
    def count(counter: Any, *labels: str) -> float:
        return float(counter.labels(*labels)._value.get())

    requests = count(metrics.REQUESTS, "POST", "unmatched", "403")
    errors = count(metrics.ERRORS, "unmatched", "key_required")
    await ask(door(), host=b"evil.example", path="/any/" + SECRET)
    assert count(metrics.REQUESTS, "POST", "unmatched", "403") == requests + 1
    assert count(metrics.ERRORS, "unmatched", "key_required") == errors + 1
    assert SECRET.encode() not in metrics.exposition()


async def test_lifespan_passes() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await door(app)({"type": "lifespan"}, hello, hello)
    assert seen == ["lifespan"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"host", b"attacker.example")], 403),
        ([(b"host", b"localhost:8000"), (b"origin", b"https://attacker.example")], 403),
        ([(b"host", b"localhost:8000"), (b"origin", b"http://localhost:9000")], 403),
        ([(b"host", b"localhost:8000"), (b"origin", b"http://localhost:8000")], 101),
        ([(b"host", b"localhost:8000")], 101),
    ],
)
async def test_websockets_of_other_sites_are_refused(headers: list[tuple[bytes, bytes]], status: int) -> None:
    """Browsers let any page connect anywhere; without keys only this host's own may."""
    sent: list[Message] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "headers": headers, "path": "/", "extensions": {"websocket.http.response": {}}}
    await door(app)(scope, hello, send)
    assert sent[0].get("status", 101) == status
    if status == 403:
        assert sent[0]["type"] == "websocket.http.response.start" and b'"error"' in sent[1]["body"]


async def test_a_client_that_leaves_in_mid_body_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Request(scope, receive).body()
        raise AssertionError("reached")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"localhost")]}
    with caplog.at_level(logging.INFO, "tritongate"):
        await door(app)(scope, receive, send)
    (record,) = caplog.records
    assert record.fields["status"] == 499 and "error" not in record.fields  # type: ignore[attr-defined]


async def test_the_log_of_an_unexpected_exception_does_not_quote_it(capsys: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError(SECRET)

    own, root = logging.getLogger("tritongate"), logging.getLogger()
    before = (root.handlers[:], root.level, own.level)
    try:
        logs.configure("debug", "json")
        await ask(door(app))
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        own.setLevel(before[2])
    written = capsys.readouterr().err
    assert "KeyError" in written and "test_front_door.py" in written
    assert SECRET not in written
