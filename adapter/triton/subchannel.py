"""One Triton: calls to it, and what is known of it.

The name is gRPC's: a channel has a subchannel for each address that it spreads its calls over.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2 as pb

from adapter.telemetry import metrics
from adapter.triton.call import Call, CallFailed, ConnectionFailed
from adapter.triton.endpoint import Endpoint
from adapter.triton.targets import Target

logger = logging.getLogger("tritongate.models")

_SERVICE = "/inference.GRPCInferenceService/"
_LARGEST_MESSAGE = 512 << 20  # bytes of an answer; tokenizers and large batches of vectors are what comes near it


class Subchannel:
    """Calls to the Triton at one address. A connection is made when it is needed; a lost one anew by the next call.

    Args:
        tls: the context of TLS connections; needed if the target is reached over TLS.
        on_failure: called when it stops being ready.

    Attributes:
        ready: it answered last time. Discovery sets it, and any call that loses or does not get a connection clears it.
        serves: Triton's names of the models that requests may be sent to it for; as last known while it is not ready.
        in_flight: requests to its models that are under way from here.
        failures: how often it stopped being ready.
    """

    def __init__(self, target: Target, tls: ssl.SSLContext | None, on_failure: Callable[[Subchannel], None]) -> None:
        self.label = target.label
        self.ready = False
        self.serves: frozenset[str] = frozenset()
        self.in_flight = 0
        self.failures = 0
        self._on_failure = on_failure
        self._endpoint = Endpoint(target.host, target.port, tls=tls if target.tls else None, name=target.name)
        self._told = False  # of its being ready or not, the first time
        self._when_idle: Callable[[], None] | None = None
        metrics.TRITON_IN_FLIGHT.labels(self.label).set_function(lambda: self.in_flight)
        metrics.TRITON_READY.labels(self.label).set_function(lambda: self.ready)
        metrics.TRITON_FAILURES.labels(self.label)

    async def close(self) -> None:
        """Ends every call."""
        if self._when_idle is None:
            self.retire(lambda: None)
        await self._endpoint.close()

    def retire(self, when_idle: Callable[[], None]) -> None:
        """It gets no more requests; `when_idle` is called once those that are under way have ended."""
        self.ready = False
        self._when_idle = when_idle
        for metric in (metrics.TRITON_IN_FLIGHT, metrics.TRITON_READY, metrics.TRITON_FAILURES):
            metric.remove(self.label)
        if not self.in_flight:
            when_idle()

    def recover(self) -> None:
        """It has answered."""
        if not self.ready and self._when_idle is None:
            self.ready = self._told = True
            logger.info("connected to Triton", extra={"fields": {"triton": self.label}})

    def fail(self, reason: str) -> None:
        """It does not answer: takes it out at once. `on_failure` sees to its coming back."""
        if self._when_idle is not None:
            return
        if self.ready or not self._told:
            fields = {"triton": self.label, "reason": reason}
            logger.warning("Triton cannot be reached", extra={"fields": fields})
            self._told = True
            self.failures += 1
            metrics.TRITON_FAILURES.labels(self.label).inc()
        self.ready = False
        self._on_failure(self)

    async def open_stream(
        self, timeout: float, waits: Callable[[Callable[[], None]], None] = lambda leave: None
    ) -> Call:
        """Begins a `ModelStreamInfer`, for models that answer one request with many responses.

        Args:
            waits: as of `Endpoint.open`.
        Raises:
            CallFailed: this Triton cannot be reached.
        """
        self.in_flight += 1
        try:
            call = await self._open("ModelStreamInfer", timeout, waits=waits)
        except BaseException:
            self._release()
            raise
        if call.ended:
            self._stream_ended(call.failure)
        else:
            call.on_end = self._stream_ended
        return call

    async def infer(self, request: pb.ModelInferRequest, timeout: float) -> pb.ModelInferResponse:
        """One request, one response: for models that are not decoupled. Raises CallFailed."""
        self.in_flight += 1
        try:
            return await self._call("ModelInfer", request, pb.ModelInferResponse, timeout)
        finally:
            self._release()

    async def repository_index(self, timeout: float) -> pb.RepositoryIndexResponse:
        """Every model that is ready. Raises CallFailed."""
        request = pb.RepositoryIndexRequest(ready=True)
        return await self._call("RepositoryIndex", request, pb.RepositoryIndexResponse, timeout)

    async def model_config(self, name: str, timeout: float) -> pb.ModelConfigResponse:
        """Raises CallFailed."""
        request = pb.ModelConfigRequest(name=name)
        return await self._call("ModelConfig", request, pb.ModelConfigResponse, timeout)

    async def _call(self, method: str, request: Any, answer: Any, timeout: float) -> Any:
        """Raises CallFailed. A caller that is cancelled cancels the call."""
        call = await self._open(method, timeout, largest_message=_LARGEST_MESSAGE)
        try:
            await call.send(request.SerializeToString())
            message = await call.read_only()
        except ConnectionFailed as failure:
            self.fail(failure.details)
            raise
        finally:
            call.cancel()
        try:
            return answer.FromString(message)
        except DecodeError as error:
            raise CallFailed(grpc.StatusCode.INTERNAL, "its answer cannot be read") from error

    async def _open(self, method: str, timeout: float, **how: Any) -> Call:
        try:
            return await self._endpoint.open(_SERVICE + method, timeout, **how)
        except ConnectionFailed as failure:
            self.fail(failure.details)
            raise

    def _stream_ended(self, failure: CallFailed | None) -> None:
        self._release()
        if isinstance(failure, ConnectionFailed):
            self.fail(failure.details)

    def _release(self) -> None:
        self.in_flight -= 1
        if self._when_idle is not None and not self.in_flight:
            self._when_idle()
