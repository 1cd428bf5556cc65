"""One generation at an engine: a request goes out, steps with new tokens come in."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from adapter.triton.call import Call, CallFailed
from adapter.triton.channel import Attempts, TritonChannel
from adapter.triton.errors import from_triton
from adapter.triton.stream_errors import engine_is_gone, from_stream, was_not_taken

_END_TIMEOUT = 1.0  # seconds between an error and the end of its stream
_decode = pb.ModelStreamInferResponse.FromString


@dataclass(slots=True)
class EngineStep:
    """What one response of the engine holds.

    ids: new tokens, at least one except in a step that only ends the stream.
    log_probs: natural logarithms, one per token, if they were asked for.
    top: per token, the alternatives as (id, log probability), if they were asked for.
    finish_reason: as the engine names it, in its last step, if it names one.
    cached_tokens: prompt tokens that the engine did not have to compute, if it says so.
    prompt_log_probs: one per token of the prompt, in the first step, if they were asked for; the first says nothing.
    prompt_tokens: tokens of the prompt, those of media among them, in the first step, if the engine says it.
    prompt_top: per token of the prompt, as `top`; the first is empty.
    """

    ids: list[int]
    log_probs: list[float] | None = None
    top: list[list[tuple[int, float]]] | None = None
    finish_reason: str | None = None
    cached_tokens: int | None = None
    prompt_tokens: int | None = None
    prompt_log_probs: list[float] | None = None
    prompt_top: list[list[tuple[int, float]]] | None = None


class StreamCancelled(Exception):
    """The stream was cancelled by `EngineStream.cancel`."""


class EngineStream:
    """A bidirectional stream that carries one request. `cancel` ends it at once and frees the engine's slot.

    As long as nothing has come back, a request whose Triton is lost goes to another one that has the model.

    Args:
        timeout: seconds for the whole generation.
        params: tensor -> the client's request field that it carries, for errors.
    """

    __slots__ = ("_begun", "_call", "_cancelled", "_channel", "_leave", "_params", "_request", "_timeout")

    def __init__(
        self, channel: TritonChannel, request: pb.ModelInferRequest, timeout: float, params: Mapping[str, str]
    ) -> None:
        self._params = params
        self._channel = channel
        self._request = request
        self._timeout = timeout
        self._call: Call | None = None
        self._leave: Callable[[], None] | None = None  # ends the waiting for a place for the call
        self._begun = False
        self._cancelled = False

    async def read(self) -> EngineStep | None:
        """The next step; None after the last. The first call sends the request.

        Raises:
            APIError: Triton refused the request, failed, or went away.
            StreamCancelled: `cancel` was called.
        """
        if self._cancelled:
            raise StreamCancelled
        try:
            # The request is half-closed: Triton ends the stream after the last response, and so says which one it was.
            data = await self._call.read() if self._begun and self._call is not None else await self._first()
        except CallFailed as failure:
            if self._cancelled:
                raise StreamCancelled from None
            raise from_triton(failure.code, failure.details) from failure
        if data is None:
            return None
        message = _decode(data)
        if message.error_message:
            await self._await_end()
            raise from_stream(message.error_message, self._params)
        try:
            return parse_step(message.infer_response)
        except (ValueError, IndexError) as error:  # tensors that contradict each other
            self.cancel()
            raise from_triton(grpc.StatusCode.INTERNAL, "its answer cannot be read") from error

    @property
    def waiting(self) -> bool:
        """Whether the next step is there already."""
        return self._call is not None and self._call.waiting

    def cancel(self) -> None:
        """Ends the stream at once; harmless when it has ended."""
        self._cancelled = True
        if self._leave is not None:
            self._leave()
        if self._call is not None:
            self._call.cancel()

    async def _await_end(self) -> None:
        """Nothing follows an error but the end. A cancel now would find a request that Triton has already released."""
        call = self._call
        assert call is not None

        async def drain() -> None:
            while await call.read() is not None:
                pass

        with contextlib.suppress(CallFailed, asyncio.TimeoutError):
            await asyncio.wait_for(drain(), _END_TIMEOUT)

    async def _first(self) -> bytes | None:
        """Sends the request, and returns the first message that is an answer of the engine.

        Raises:
            CallFailed: none of the Tritons that it went to has answered.
        """
        encoded = self._request.SerializeToString()
        attempts = self._channel.attempts(self._request.model_name, self._timeout)
        while True:
            try:
                data = await self._attempt(attempts, encoded)
            except CallFailed as failure:
                if self._cancelled or not attempts.another(failure):
                    raise
                continue
            refusal = _decode(data).error_message if data is not None else ""
            if refusal and was_not_taken(refusal):
                if engine_is_gone(refusal):
                    attempts.subchannel.fail(refusal)
                if attempts.another(CallFailed(grpc.StatusCode.UNAVAILABLE, refusal)):
                    await self._await_end()
                    continue
            self._begun = True
            return data

    async def _attempt(self, attempts: Attempts, encoded: bytes) -> bytes | None:
        self._call = call = await attempts.subchannel.open_stream(attempts.remaining, self._waits)
        if self._cancelled:  # in the moment in which it got its place
            call.cancel()
        await call.send(encoded)
        return await call.read()

    def _waits(self, leave: Callable[[], None]) -> None:
        self._leave = leave


def parse_step(response: pb.ModelInferResponse) -> EngineStep:
    """Reads the tensors of an engine's response (docs/model_repository.md); unknown ones are passed over."""
    step = EngineStep([])
    top_ids: list[int] = []
    top_log_probs: list[float] = []
    prompt_top_ids: list[int] = []
    prompt_top_log_probs: list[float] = []
    width = prompt_width = 0
    raw = response.raw_output_contents
    for index, output in enumerate(response.outputs):
        name = output.name
        data = raw[index]
        if name == "output_ids":
            if len(data) == 4:  # nearly every step of a stream: one token
                token = int.from_bytes(data, "little", signed=True)
                if token >= 0:
                    step.ids.append(token)
            else:  # -1 pads
                step.ids = [token for token in _numbers("i", data) if token >= 0]
        elif name == "output_log_probs":
            step.log_probs = _numbers("f", data)
        elif name == "finish_reason":
            step.finish_reason = data[4:].decode() or None  # a 4-byte length comes first
        elif name == "top_token_ids":
            top_ids, width = _numbers("i", data), output.shape[-1]
        elif name == "top_log_probs":
            top_log_probs = _numbers("f", data)
        elif name == "cached_tokens" and data:
            step.cached_tokens = int.from_bytes(data[:4], "little", signed=True)
        elif name == "prompt_tokens" and data:
            step.prompt_tokens = int.from_bytes(data[:4], "little", signed=True)
        elif name == "prompt_log_probs" and data:
            step.prompt_log_probs = _numbers("f", data)
        elif name == "prompt_top_token_ids":
            prompt_top_ids, prompt_width = _numbers("i", data), output.shape[-1]
        elif name == "prompt_top_log_probs":
            prompt_top_log_probs = _numbers("f", data)
    if width > 0:
        step.top = _alternatives(top_ids, top_log_probs, width)
    if prompt_width > 0 and prompt_top_ids:
        step.prompt_top = _alternatives(prompt_top_ids, prompt_top_log_probs, prompt_width)
    return step


def _alternatives(ids: list[int], log_probs: list[float], width: int) -> list[list[tuple[int, float]]]:
    """Rows of (id, log probability); -1 pads a position with fewer alternatives."""
    pairs = list(zip(ids, log_probs, strict=True))
    rows = (pairs[start : start + width] for start in range(0, len(pairs), width))
    return [[pair for pair in row if pair[0] >= 0] for row in rows]


def _numbers(code: str, data: bytes) -> list[Any]:
    values: array[Any] = array(code, data)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
