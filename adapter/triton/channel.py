"""The way to Triton, and its errors in OpenAI's form.

Messages are those of the KServe v2 protocol as `tritonclient` ships them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2 as pb

from adapter.errors import APIError, internal, invalid_request, not_found, overloaded, timed_out, unavailable
from adapter.triton.call import Call, CallFailed
from adapter.triton.endpoint import Endpoint
from adapter.triton.tls import client_context

_SERVICE = "/inference.GRPCInferenceService/"
_LARGEST_MESSAGE = 512 << 20  # bytes of an answer; tokenizers and large batches of vectors are what comes near it
_LONGEST_DETAIL = 500  # characters of Triton's own words that reach a client


class TritonChannel:
    """Calls to one Triton. A connection is made when it is needed; one that was lost is made anew by the next call.

    Args:
        url: `grpc://host:port`, or `grpcs://host:port` for TLS.
        authorities: certificates (PEM) that TLS trusts; None: the system's.

    Raises:
        ValueError: the URL has another scheme, or no port.
        OSError: `authorities` cannot be used.
    """

    def __init__(self, url: str, authorities: Path | None = None) -> None:
        scheme, _, target = url.partition("://")
        host, _, port = target.rpartition(":")
        if scheme not in ("grpc", "grpcs") or not host or not port.isdigit():
            raise ValueError(f"{url!r} is not of the form grpc://host:port or grpcs://host:port")
        self.url = url
        secure = scheme == "grpcs"
        self._endpoint = Endpoint(host.strip("[]"), int(port), tls=client_context(authorities) if secure else None)

    async def close(self) -> None:
        await self._endpoint.close()

    async def open_stream(self, timeout: float) -> Call:
        """Begins a `ModelStreamInfer`, for models that answer one request with many responses.

        Raises:
            CallFailed: Triton cannot be reached.
        """
        return await self._endpoint.open(_SERVICE + "ModelStreamInfer", timeout)

    async def repository_index(self, timeout: float) -> pb.RepositoryIndexResponse:
        """Every model that is ready. Raises CallFailed."""
        request = pb.RepositoryIndexRequest(ready=True)
        return await self._call("RepositoryIndex", request, pb.RepositoryIndexResponse, timeout)

    async def model_config(self, name: str, timeout: float) -> pb.ModelConfigResponse:
        """Raises CallFailed."""
        request = pb.ModelConfigRequest(name=name)
        return await self._call("ModelConfig", request, pb.ModelConfigResponse, timeout)

    async def infer(self, request: pb.ModelInferRequest, timeout: float) -> pb.ModelInferResponse:
        """One request, one response: for models that are not decoupled.

        Raises:
            APIError: what Triton says, in OpenAI's form.
        """
        try:
            return await self._call("ModelInfer", request, pb.ModelInferResponse, timeout)
        except CallFailed as failure:
            raise from_triton(failure.code, failure.details) from failure

    async def _call(self, method: str, request: Any, answer: Any, timeout: float) -> Any:
        """Raises CallFailed. A caller that is cancelled cancels the call."""
        call = await self._endpoint.open(_SERVICE + method, timeout, _LARGEST_MESSAGE)
        try:
            await call.send(request.SerializeToString())
            message = await call.read_only()
        finally:
            call.cancel()
        try:
            return answer.FromString(message)
        except DecodeError as error:
            raise CallFailed(grpc.StatusCode.INTERNAL, "its answer cannot be read") from error


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
