"""Errors that arrive as a message of a stream.

Triton has a header, `triton_grpc_error`, for which it ends a stream with a gRPC status and the error's code. It is not
used: with it, Triton 24.10 calls its cancellation handler on requests that were never cancelled, and now and then dies
of it (seen here: after some 3,000 refused requests beside ordinary streams; never without the header). What is left is
the text, so our engines begin it with the name of the tensor at fault, and the words of Triton and of TensorRT-LLM for
what a request can cause are known here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import grpc

from adapter.errors import APIError
from adapter.triton.errors import from_triton

_TENSOR = re.compile(r"([a-z_]+): ")
_TOO_LONG = re.compile(r"prompt length.*exceeds|exceeds max\w* (input|sequence) length", re.IGNORECASE)
# Triton's words when it stops or has lost the model, when a queue is full, and when a Python model's process has died.
_NOT_TAKEN = re.compile(
    r"Server is stopping|Request for unknown model|maximum queue size|places in the queue are taken"
)
_ENGINE_GONE = re.compile(r"Stub process .*is not healthy|the engine has died")
_TIMED_OUT = re.compile(r"request timeout expired", re.IGNORECASE)


def from_stream(message: str, params: Mapping[str, str]) -> APIError:
    """The client's error.

    Args:
        message: Triton's text.
        params: tensor -> the request field that it carries.
    """
    tensor = _TENSOR.match(message)
    if tensor is not None and tensor[1] in params:
        error = from_triton(grpc.StatusCode.INVALID_ARGUMENT, message)
        error.param = params[tensor[1]]
        return error
    if _TOO_LONG.search(message):
        error = from_triton(grpc.StatusCode.INVALID_ARGUMENT, message)
        error.param, error.code = params.get("input_ids"), "context_length_exceeded"
        return error
    if _TIMED_OUT.search(message):
        return from_triton(grpc.StatusCode.DEADLINE_EXCEEDED, message)
    # from_triton itself knows the words for a full queue and for an unloaded model.
    return from_triton(grpc.StatusCode.UNAVAILABLE if "queue" in message else grpc.StatusCode.INTERNAL, message)


def was_not_taken(message: str) -> bool:
    """Whether another Triton may well do what this one has not done: the request itself is not at fault."""
    return bool(_NOT_TAKEN.search(message)) or engine_is_gone(message)


def engine_is_gone(message: str) -> bool:
    """Whether the process of the engine has ended. Triton goes on calling such a model ready."""
    return bool(_ENGINE_GONE.search(message))
