"""WebSocket mode of `/v1/responses`: `response.create` messages in, the events of their responses out.

Responses of one lane (`stream_id`) are made one after the other, those of several lanes side by side. The last response
of a lane stays at hand while the connection is open, so that it can be gone on from although it was not stored.
Source: OpenAI's WebSocket mode, and the Open Responses specification of 2026-04-24.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import orjson
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from adapter.errors import APIError, internal, invalid_request, overloaded
from adapter.request_context import context_of
from adapter.responses.making import make_response
from adapter.responses.memory import Memory
from adapter.schema.body import parse_json
from adapter.schema.responses import parse_response_request
from adapter.services import Services
from adapter.telemetry.logs import describe_exception
from adapter.triton.stream import StreamCancelled

router = APIRouter()
logger = logging.getLogger("tritongate.responses")

_MOST_LANES = 8
_MOST_WAITING = 2  # messages of one lane, each up to a whole request body
_LONGEST_LANE = 128  # characters of a `stream_id`
_READ_WITHIN = 30.0  # seconds; a client that reads no further is let go
_CREATE = "response.create"


@router.websocket("/v1/responses")
async def converse(socket: WebSocket) -> None:
    """One connection: any number of responses."""
    services: Services = socket.app.state.services
    await socket.accept()
    connection = _Connection(services, socket)
    try:
        await connection.run()
    finally:
        await connection.aclose()


class _Connection:
    def __init__(self, services: Services, socket: WebSocket) -> None:
        self._services = services
        self._socket = socket
        self._owner = context_of(socket.scope).key_id or ""
        self._lanes: dict[str | None, _Lane] = {}
        self._sending = asyncio.Lock()
        self.closed = False
        self._runner = asyncio.current_task()
        self._stalled = False  # the client does not read

    async def run(self) -> None:
        """Until the client leaves."""
        while True:
            try:
                message = await self._socket.receive()
            except WebSocketDisconnect:
                return
            except asyncio.CancelledError:
                if self._stalled:
                    return
                raise
            if message["type"] == "websocket.disconnect":
                return
            stream_id = None
            try:
                body = _body(message)
                stream_id = _stream_id(body)
                self._lane(stream_id).put(body)
            except APIError as error:
                await self.send_error(error, stream_id)

    async def aclose(self) -> None:
        self.closed = True
        for lane in self._lanes.values():
            lane.task.cancel()
        await asyncio.gather(*(lane.task for lane in self._lanes.values()), return_exceptions=True)

    async def send(self, chunks: list[bytes]) -> None:
        async with self._sending:
            for chunk in chunks:
                try:
                    await asyncio.wait_for(self._socket.send_text(chunk.decode()), _READ_WITHIN)
                except asyncio.TimeoutError:
                    self._stalled = self.closed = True
                    if self._runner is not None:
                        self._runner.cancel()
                    raise WebSocketDisconnect(1006) from None

    async def send_error(self, error: APIError, stream_id: str | None) -> None:
        details = {"type": error.type, "code": error.code or error.type, "message": error.message, "param": error.param}
        event: dict[str, Any] = {"type": "error", "status": error.status, "error": details}
        if stream_id is not None:
            event["stream_id"] = stream_id
        await self.send([orjson.dumps(event)])

    def _lane(self, stream_id: str | None) -> _Lane:
        if stream_id not in self._lanes:
            if len(self._lanes) >= _MOST_LANES:
                raise invalid_request(f"A connection has up to {_MOST_LANES} lanes.", "stream_id", "too_many_lanes")
            self._lanes[stream_id] = _Lane(self._services, self, self._owner, stream_id)
        return self._lanes[stream_id]


class _Lane:
    """Makes its responses one after the other."""

    def __init__(self, services: Services, connection: _Connection, owner: str, stream_id: str | None) -> None:
        self._services = services
        self._connection = connection
        self._owner = owner
        self._stream_id = stream_id
        self._memory = Memory()
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MOST_WAITING)
        self.task = asyncio.ensure_future(self._run())

    def put(self, body: dict[str, Any]) -> None:
        try:
            self._queue.put_nowait(body)
        except asyncio.QueueFull as error:
            raise overloaded(f"{_MOST_WAITING} requests wait on this connection. Read their answers first.") from error

    async def _run(self) -> None:
        while True:
            body = await self._queue.get()
            try:
                await self._answer(body)
            except APIError as error:
                await self._connection.send_error(error, self._stream_id)
            except StreamCancelled:  # deleted from elsewhere
                await self._connection.send_error(internal("The response was cancelled."), self._stream_id)
            except Exception as failure:
                if self._connection.closed:
                    return
                logger.error("a response over a WebSocket failed", extra={"fields": describe_exception(failure)})
                message = "The server had an error while processing your request."
                await self._connection.send_error(internal(message), self._stream_id)

    async def _answer(self, body: dict[str, Any]) -> None:
        for field in ("background", "stream", "stream_options"):
            if body.get(field):
                raise invalid_request(f"'{field}' is not allowed in WebSocket mode.", field, "unsupported_parameter")
        generate = body.pop("generate", None) is not False
        request = parse_response_request({**body, "stream": True})
        recording = await make_response(self._services, self._owner, request, memory=self._memory, generate=generate)
        lane = b"" if self._stream_id is None else b',"stream_id":' + orjson.dumps(self._stream_id) + b"}"
        try:
            async with contextlib.aclosing(recording.events()) as events:
                chunks: list[bytes] = []
                async for wires in events:
                    chunks += [wire.data[:-1] + lane if lane else wire.data for wire in wires]
                    if not recording.waiting:
                        await self._connection.send(chunks)
                        chunks = []
                await self._connection.send(chunks)
        except BaseException:
            recording.cancel()
            raise
        self._memory.keep(recording)


def _body(message: Any) -> dict[str, Any]:
    raw = message.get("text")
    body = parse_json(raw.encode() if raw is not None else message.get("bytes") or b"")
    kind = body.pop("type", None)
    if kind != _CREATE:
        named = f"'{kind}'" if isinstance(kind, str) else "none"
        message_ = f"Invalid 'type': messages of type '{_CREATE}' are understood; this one has {named}."
        raise invalid_request(message_, "type", "invalid_value")
    return body


def _stream_id(body: dict[str, Any]) -> str | None:
    stream_id = body.pop("stream_id", None)
    if stream_id is None:
        return None
    if not isinstance(stream_id, str) or not 0 < len(stream_id) <= _LONGEST_LANE:
        raise invalid_request(
            f"Invalid 'stream_id': expected a string of 1 to {_LONGEST_LANE} characters.", "stream_id", "invalid_type"
        )
    return stream_id
