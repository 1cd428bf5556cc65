"""What every request passes: request id, key, limits; and what is counted and logged of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapter.errors import APIError, internal, overloaded, stopping, timed_out, unauthorized
from adapter.request_context import RequestContext, open_context
from adapter.security.body_limit import check_content_length, limited
from adapter.security.exposure import is_local_host_header
from adapter.security.keys import APIKey, KeyRing
from adapter.telemetry import metrics
from adapter.telemetry.logs import describe_exception

logger = logging.getLogger("tritongate.requests")

# Open to everybody: health for load balancers, and the description of the API.
_OPEN = frozenset({"/health/live", "/health/ready", "/docs", "/openapi.json"})
_PROBES = frozenset({"/health/live", "/health/ready", "/metrics"})
_UPLOADS = frozenset({"/v1/files"})
_CLOSE_WITHIN = 5.0  # seconds; who does not read does not hear of it
_CLIENT_LEFT = 499  # never sent; for logs and metrics


class FrontDoor:
    """ASGI middleware around the whole application.

    Args:
        max_requests: requests that may be answered at the same time; one more gets 503.
        max_body: bytes of a request body.
        max_upload: the same where a file is uploaded, which does not stay in memory; None: `max_body`.
    """

    def __init__(
        self, app: ASGIApp, *, keys: KeyRing, max_requests: int, max_body: int, max_upload: int | None = None
    ) -> None:
        self._app = app
        self._keys = keys
        self._max_requests = max_requests
        self._max_body = max_body
        self._max_upload = max_body if max_upload is None else max_upload
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._connect(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = open_context(scope)
        request_id_header = (b"x-request-id", context.request_id.encode())
        status = 0

        async def counted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), request_id_header]
            await send(message)

        started = time.perf_counter()
        self._in_flight += 1
        metrics.IN_FLIGHT.inc()
        try:
            self._admit(scope, context)
            await self._app(scope, limited(receive, self._largest_body(scope)), counted_send)
        except ClientDisconnect:  # in the middle of its own request
            context.abandoned = True
        except (Exception, asyncio.CancelledError) as error:
            # An answer that has begun is left as it is: uvicorn closes the connection, and the client sees it cut off.
            failure = _failure_of(error, context)
            if status:
                context.error_code = failure.code or failure.type
            else:
                await send_error(counted_send, failure, context)
        finally:
            self._in_flight -= 1
            metrics.IN_FLIGHT.dec()
            _record(scope, context, _CLIENT_LEFT if context.abandoned else status, time.perf_counter() - started)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket counts as one request, for as long as it is open."""
        context = open_context(scope)
        accepted = False

        async def noted_send(message: Message) -> None:
            nonlocal accepted
            accepted = accepted or message["type"] == "websocket.accept"
            await send(message)

        started = time.perf_counter()
        self._in_flight += 1
        metrics.IN_FLIGHT.inc()
        status = 101
        try:
            self._admit(scope, context)
            await self._app(scope, receive, noted_send)
        except (Exception, asyncio.CancelledError) as error:
            failure = _failure_of(error, context)
            context.error_code, status = failure.code or failure.type, failure.status
            if accepted:
                with contextlib.suppress(Exception):  # the client may be gone
                    await asyncio.wait_for(send({"type": "websocket.close", "code": 1011}), _CLOSE_WITHIN)
            else:
                await _refuse_handshake(scope, send, failure, context)
        finally:
            self._in_flight -= 1
            metrics.IN_FLIGHT.dec()
            _record({**scope, "method": "GET"}, context, status, time.perf_counter() - started)

    def _admit(self, scope: Scope, context: RequestContext) -> None:
        if scope["path"] in _OPEN:
            return
        headers = dict(scope["headers"])
        if self._keys.required:
            key = self._key(headers.get(b"authorization", b""))
            context.key_id, context.key_name = key.id, key.name
        elif not is_local_host_header(headers.get(b"host", b"").decode("latin-1")):
            raise APIError(
                403,
                "This server has no API key and answers this machine only, under a name such as localhost. "
                "To reach it under another name, give it a key: tritongate keys new.",
                code="key_required",
            )
        else:
            _check_origin(headers)
        if self._in_flight > self._max_requests:
            raise overloaded(f"This server answers {self._max_requests} requests at a time. Try again soon.")
        if scope["type"] == "http":
            check_content_length(scope, self._largest_body(scope))

    def _largest_body(self, scope: Scope) -> int:
        return self._max_upload if scope["path"] in _UPLOADS else self._max_body

    def _key(self, authorization: bytes) -> APIKey:
        scheme, _, key = authorization.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise unauthorized(
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                code=None,
            )
        known = self._keys.identify(key.strip())
        if known is None:
            raise unauthorized("Incorrect API key provided.")
        return known


def _check_origin(headers: dict[bytes, bytes]) -> None:
    """Browsers let any page send forms, and open WebSockets, anywhere. A page cannot send a key: where there are keys
    none of this reaches anything. Without keys only this host's own pages may.

    Raises:
        APIError: 403.
    """
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin and origin.rpartition("://")[2] != headers.get(b"host", b"").decode("latin-1"):
        raise APIError(
            403,
            "This server has no API key, and takes nothing from web pages of other sites. To let them in, give it a "
            "key: tritongate keys new.",
            code="origin_not_allowed",
        )


async def _refuse_handshake(scope: Scope, send: Send, failure: APIError, context: RequestContext) -> None:
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(name.encode(), value.encode()) for name, value in failure.headers.items()]
    headers += [(b"content-type", b"application/json"), (b"x-request-id", context.request_id.encode())]
    await send({"type": "websocket.http.response.start", "status": failure.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": failure.body()})


def _failure_of(error: BaseException, context: RequestContext) -> APIError:
    """What a client is told of an exception that no route has dealt with."""
    if isinstance(error, APIError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return timed_out() if context.expired else stopping()
    logger.error("a request failed", extra={"fields": {"request_id": context.request_id, **describe_exception(error)}})
    return internal("The server had an error while processing your request.")


async def send_error(send: Send, error: APIError, context: RequestContext) -> None:
    """The whole answer to a request that failed before its answer had begun."""
    context.error_code = error.code or error.type
    body = error.body()
    headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _record(scope: Scope, context: RequestContext, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "unmatched")
    metrics.REQUESTS.labels(scope["method"], route, str(status)).inc()
    if context.error_code is not None:
        metrics.ERRORS.labels(route, context.error_code).inc()
    fields = {
        "request_id": context.request_id,
        "method": scope["method"],
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 1),
        **({"key": context.key_id} if context.key_id else {}),
        **({"key_name": context.key_name} if context.key_name else {}),
        **({"error": context.error_code} if context.error_code else {}),
        **context.fields,
    }
    # Probes come every few seconds, and say nothing as long as they succeed.
    level = logging.DEBUG if route in _PROBES and status == 200 else logging.INFO
    logger.log(level, "request", extra={"fields": fields})
