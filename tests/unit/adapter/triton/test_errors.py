"""Triton's failures in OpenAI's form: the right status, and never a traceback or an address."""

from __future__ import annotations

import json

import grpc
import pytest

from adapter.triton.channel import TritonChannel
from adapter.triton.errors import from_triton

UNLOADED = "Request for unknown model: 'm' has no available versions"
PYTHON_BACKEND = (
    "Failed to process the request(s) for model instance 'm_0_0', message: KeyError: 'x'\n\n"
    "At:\n  /models/m/1/model.py(45): execute\n"
)


@pytest.mark.parametrize(
    ("code", "details", "status", "kind", "openai_code"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "temperature is negative", 400, "invalid_request_error", None),
        (grpc.StatusCode.OUT_OF_RANGE, "x", 400, "invalid_request_error", None),
        (grpc.StatusCode.UNIMPLEMENTED, "decoupled", 400, "invalid_request_error", None),
        (grpc.StatusCode.NOT_FOUND, "unknown model: 'm'", 404, "invalid_request_error", "model_not_found"),
        (grpc.StatusCode.INTERNAL, UNLOADED, 404, "invalid_request_error", "model_not_found"),
        (grpc.StatusCode.UNAVAILABLE, UNLOADED, 404, "invalid_request_error", "model_not_found"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "too much", 503, "server_error", "overloaded"),
        (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size", 503, "server_error", "overloaded"),
        (grpc.StatusCode.UNAVAILABLE, "Server is stopping", 503, "server_error", "triton_unavailable"),
        (grpc.StatusCode.UNAVAILABLE, "", 503, "server_error", "triton_unavailable"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", 504, "server_error", "timeout"),
        (grpc.StatusCode.CANCELLED, "", 503, "server_error", "triton_unavailable"),
        (grpc.StatusCode.INTERNAL, "CUDA error", 502, "server_error", "model_error"),
        (grpc.StatusCode.UNKNOWN, "whatever", 500, "server_error", "internal_error"),
        (grpc.StatusCode.DATA_LOSS, "whatever", 500, "server_error", "internal_error"),
    ],
)
def test_statuses(code: grpc.StatusCode, details: str, status: int, kind: str, openai_code: str | None) -> None:
    error = from_triton(code, details)
    assert (error.status, error.type, error.code) == (status, kind, openai_code)
    assert ("retry-after" in error.headers) is (status == 503)
    assert json.loads(error.body())["error"]["message"] == error.message


@pytest.mark.parametrize("code", list(grpc.StatusCode))
@pytest.mark.parametrize(
    "details",
    [PYTHON_BACKEND, "Traceback (most recent call last):\n  File \"/models/m/1/model.py\", line 45\nKeyError: 'x'"],
)
def test_no_traceback_reaches_a_client(code: grpc.StatusCode, details: str) -> None:
    message = from_triton(code, details).message
    assert "model.py" not in message and "/models" not in message and "KeyError" not in message


@pytest.mark.parametrize(
    "details",
    [
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.7:8001: Failed to connect to remote host",
        "failed to connect: [Errno 111] Connect call failed ('10.0.0.7', 8001)",
        "Socket closed",
        "socket: the connection was lost (10.0.0.7)",
    ],
)
def test_no_address_reaches_a_client(details: str) -> None:
    error = from_triton(grpc.StatusCode.UNAVAILABLE, details)
    assert error.message == "Triton cannot be reached at the moment."


def test_long_words_are_shortened_and_on_one_line() -> None:
    message = from_triton(grpc.StatusCode.INVALID_ARGUMENT, "first\nsecond " + "x" * 10_000).message
    assert "first second" in message and "\n" not in message
    assert len(message) < 600


@pytest.mark.parametrize(
    "url", ["", "localhost:8001", "http://localhost:8001", "grpc://localhost", "grpc://:8001", "grpc://localhost:x"]
)
def test_urls_that_make_no_sense(url: str) -> None:
    with pytest.raises(ValueError, match="grpc://host:port"):
        TritonChannel(url)
