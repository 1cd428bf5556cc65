"""Triton's errors in OpenAI's form."""

from __future__ import annotations

import grpc

from adapter.errors import APIError, internal, invalid_request, not_found, overloaded, timed_out, unavailable

_LONGEST_DETAIL = 500  # characters of Triton's own words that reach a client


def from_triton(code: grpc.StatusCode, details: str) -> APIError:
    """The client's error for a failed call. Triton's words are kept, shortened; a traceback never gets through."""
    words = _one_line(details)
    # Triton has several codes for a model that is not there, but the same words.
    if code is grpc.StatusCode.NOT_FOUND or details.startswith("Request for unknown model"):
        return not_found(f"The model is no longer loaded: {words}", "model", "model_not_found")
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE):
        return invalid_request(f"The model refused the request: {words}")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return invalid_request(f"The model cannot do this: {words}")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return overloaded(f"Triton is at its limit: {words}")
    if code is grpc.StatusCode.UNAVAILABLE:
        # Triton's words about a full queue are meant for the client; gRPC's about a lost connection name addresses.
        if "queue" in details.lower():
            return overloaded(f"Triton is busy: {words}")
        # Whatever else there is may be a resolver's or a socket's words, which name hosts.
        return unavailable("Triton cannot be reached at the moment.")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return timed_out()
    if code is grpc.StatusCode.CANCELLED:
        return unavailable("Triton ended the request before it was complete.")
    if code is grpc.StatusCode.INTERNAL:
        return APIError(502, f"The model failed: {words}", type="server_error", code="model_error")
    return internal(f"Triton answered with {code.name}.")


def _one_line(details: str) -> str:
    """What is fit to be shown: no traceback, no more than `_LONGEST_DETAIL` characters, on one line."""
    # Python's form, and that of Triton's Python backend: the exception, then "At:" and the places in the model's files.
    if "Traceback (most recent call last)" in details or "\nAt:\n" in details:
        return "it raised an error, which Triton's log holds."
    line = " ".join(details.split())
    return line if len(line) <= _LONGEST_DETAIL else line[:_LONGEST_DETAIL] + "..."
