"""What every request passes: request ids, hosts, limits, and errors in OpenAI's form."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import user

CHAT = "/v1/chat/completions"
BODY = {"model": models.CHAT, "messages": user("Hi"), "max_tokens": 1}


@pytest.fixture
def http(adapter_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=adapter_url, timeout=60.0, trust_env=False) as client:
        yield client


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error object; fails unless the response is one in OpenAI's form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] and error["type"]
    return error


def test_any_key_passes_on_loopback_without_keys(adapter_url: str) -> None:
    for headers in ({}, {"authorization": "Bearer whatever"}, {"authorization": "nonsense"}):
        response = httpx.get(f"{adapter_url}/v1/models", headers=headers, trust_env=False)
        assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/models", None, 200),
        ("GET", "/v1/models/nothing", None, 404),
        ("GET", "/nowhere", None, 404),
        ("GET", "/v1/completions", None, 405),
        ("POST", CHAT, BODY, 200),
        ("POST", CHAT, {**BODY, "stream": True}, 200),
        ("POST", CHAT, {**BODY, "temperature": 9}, 400),
        ("POST", "/v1/embeddings", {"model": models.EMBEDDING, "input": "x"}, 200),
        ("GET", "/health/live", None, 200),
        ("GET", "/health/ready", None, 200),
        ("GET", "/metrics", None, 200),
        ("GET", "/docs", None, 200),
        ("GET", "/openapi.json", None, 200),
    ],
)
def test_every_answer_has_a_request_id(http: httpx.Client, method: str, path: str, body: Any, status: int) -> None:
    first = http.request(method, path, json=body)
    second = http.request(method, path, json=body)
    assert first.status_code == second.status_code == status
    ids = [response.headers.get_list("x-request-id") for response in (first, second)]
    assert [len(found) for found in ids] == [1, 1]
    assert ids[0] != ids[1]
    assert ids[0][0].startswith("req_")


def test_the_clients_own_request_id_is_kept(http: httpx.Client) -> None:
    assert http.get("/v1/models", headers={"x-request-id": "mine-1.a:b_c"}).headers["x-request-id"] == "mine-1.a:b_c"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, 'quote"', "ü".encode().decode("latin-1")])
def test_a_harmful_request_id_is_not(http: httpx.Client, given: str) -> None:
    response = http.get("/v1/models", headers={"x-request-id": given.encode("latin-1")})  # type: ignore[dict-item]
    assert response.headers["x-request-id"].startswith("req_")


def test_the_client_shows_the_request_id(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(model=models.CHAT, messages=user("Hi"), max_tokens=1)
    assert answer._request_id is not None and answer._request_id.startswith("req_")
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.models.retrieve("nothing")
    assert caught.value.request_id is not None and caught.value.request_id.startswith("req_")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "192.168.1.5:8000", "localhost.evil.example", ""]
)
def test_a_foreign_host_is_refused(http: httpx.Client, host: str) -> None:
    """A web page whose name points to 127.0.0.1 must not be able to use a server without keys."""
    error = error_of(http.post(CHAT, json=BODY, headers={"host": host}), 403)
    assert "key" in error["message"]


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1:8000", "127.0.0.2", "[::1]:8000", "[::1]"])
def test_the_names_of_this_machine_are_taken(http: httpx.Client, host: str) -> None:
    assert http.get("/v1/models", headers={"host": host}).status_code == 200


def test_no_such_path(http: httpx.Client) -> None:
    for method, path in (("GET", "/"), ("POST", "/v1/nothing"), ("GET", "/v1/completions/x"), ("GET", "/v1")):
        error = error_of(http.request(method, path), 404)
        assert error["type"] == "invalid_request_error"
        assert path in error["message"]


def test_no_such_method(http: httpx.Client) -> None:
    for method, path, allowed in (
        ("GET", "/v1/completions", "POST"),
        ("PUT", CHAT, "POST"),
        ("DELETE", "/v1/models", "GET"),
        ("PUT", "/v1/embeddings", "POST"),
    ):
        response = http.request(method, path)
        error_of(response, 405)
        assert allowed in response.headers["allow"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings"])
def test_another_content_type(http: httpx.Client, path: str, content_type: str | None) -> None:
    """Those that a browser sends to strangers' servers without asking them first."""
    headers = {"content-type": content_type} if content_type else {}
    error = error_of(http.post(path, content=b'{"model": "x"}', headers=headers), 415)
    assert "application/json" in error["message"]


def test_content_type_with_a_charset(http: httpx.Client) -> None:
    response = http.post(CHAT, json=BODY, headers={"content-type": "Application/JSON; charset=utf-8"})
    assert response.status_code == 200


class TestLimits:
    """With limits of their own."""

    LIMIT = 2000

    @pytest.fixture
    def small(self, start_adapter: Callable[..., AdapterProcess]) -> AdapterProcess:
        return start_adapter(max_body_bytes=self.LIMIT)

    def test_body_size(self, small: AdapterProcess) -> None:
        url = small.url + CHAT
        frame = len(httpx.Request("POST", url, json={**BODY, "user": ""}).read())
        fits = {**BODY, "user": "x" * (self.LIMIT - frame)}
        with httpx.Client(timeout=60.0, trust_env=False) as client:
            assert client.post(url, json=fits).status_code == 200
            too_long = client.post(url, json={**BODY, "user": "x" * (self.LIMIT - frame + 1)})
            error = error_of(too_long, 413)
            assert f"{self.LIMIT:,}" in error["message"]
            assert "x-request-id" in too_long.headers
            assert client.post(url, json=fits).status_code == 200

    def test_body_size_of_chunks(self, small: AdapterProcess) -> None:
        """Without content-length: refused as soon as it is too long, whatever more would come."""
        with socket.create_connection(("127.0.0.1", small.port), timeout=30) as connection:
            connection.sendall(
                f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                "transfer-encoding: chunked\r\n\r\n".encode()
            )
            connection.sendall(b"%x\r\n%s\r\n" % (self.LIMIT + 1, b"x" * (self.LIMIT + 1)))
            answer = b""
            while received := connection.recv(65536):  # to the end: a connection in mid-body is of no further use
                answer += received
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"request_too_large" in answer

    def test_content_length_is_enough_to_refuse(self, small: AdapterProcess) -> None:
        """Nothing of the body is waited for."""
        with socket.create_connection(("127.0.0.1", small.port), timeout=30) as connection:
            connection.sendall(
                f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                f"content-length: {self.LIMIT + 1}\r\n\r\n".encode()
            )
            assert connection.recv(65536).startswith(b"HTTP/1.1 413")

    def test_the_client_gets_it_as_a_status_error(self, small: AdapterProcess) -> None:
        client = openai.OpenAI(base_url=small.base_url, api_key="any", max_retries=0)
        with client, pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model=models.CHAT, messages=user("x" * self.LIMIT))
        assert caught.value.status_code == 413
        assert caught.value.code == "request_too_large"

    def test_requests_at_the_same_time(self, start_adapter: Callable[..., AdapterProcess]) -> None:
        adapter = start_adapter(max_concurrent_requests=1)
        with openai.OpenAI(base_url=adapter.base_url, api_key="any", max_retries=0, timeout=60.0) as client:
            open_stream = client.chat.completions.create(
                model=models.CHAT, messages=user("Hi"), max_tokens=2000, stream=True, logit_bias={"2": -100}
            )
            next(iter(open_stream))
            with pytest.raises(openai.APIStatusError) as caught:
                client.chat.completions.create(model=models.CHAT, messages=user("Hi"), max_tokens=1)
            assert caught.value.status_code == 503
            assert caught.value.code == "overloaded"
            assert int(caught.value.response.headers["retry-after"]) >= 1
            # Whoever watches the server is not shut out by its users.
            assert httpx.get(f"{adapter.url}/health/ready", trust_env=False).status_code == 200
            open_stream.close()
            patient = client.with_options(max_retries=5)  # the real client waits as long as `retry-after` says
            assert patient.chat.completions.create(model=models.CHAT, messages=user("Hi"), max_tokens=1).choices
