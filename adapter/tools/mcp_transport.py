"""HTTP for MCP's client: to addresses that were looked at only, within bounds, with failures that end one request only.

The client ends its whole session on an error of the network, and tells of an error status nothing. So both come to it
as what it hands on: a JSON-RPC error in answer to the request, of the code `FAILED`. Its message is a predicate of the
server ("answered with status 500").
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator

import httpx2
import orjson

from adapter.security.addresses import IPAddress
from adapter.security.destinations import CONNECT_TIMEOUT, Destinations, RefusedDestination

FAILED = -32050
"""Of the range that JSON-RPC leaves to implementations; MCP uses none near it."""
LARGEST_ANSWER = 4 << 20
"""Bytes of one HTTP answer, of an event stream too."""
_LARGEST_ERROR = 64 << 10  # bytes of an answer with an error status that are looked at
_REFUSING = {401: "asks for an authorization that this request has not", 403: "does not allow this request"}


class AnswerBroken(httpx2.SSEError, httpx2.StreamError):
    """The client takes it as an answer that it cannot read: of JSON the one kind, of an event stream the other."""


class PinnedTransport(httpx2.AsyncBaseTransport):
    """Connects to one host, at the addresses that its name had at first. Connections are its own: one that was verified
    for a name must not serve another on that address. It goes through no proxy.

    Args:
        tls: what certificates are trusted.
    """

    def __init__(self, destinations: Destinations, tls: ssl.SSLContext) -> None:
        self._destinations = destinations
        self._inner = httpx2.AsyncHTTPTransport(verify=tls, trust_env=False)
        self._place: tuple[str, str, int | None] | None = None  # where `_addresses` are for
        self._addresses: list[IPAddress] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["accept-encoding"] = "identity"  # bytes are counted as they come
        try:
            response = await self._send(request)
        except RefusedDestination as error:
            return _failure(str(error))
        except httpx2.TransportError as error:
            return _failure(_reason(error))
        return await self._checked(request, response)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        host = url.raw_host.decode("ascii").rstrip(".")
        if url.userinfo:
            raise RefusedDestination("holds credentials in its URL: send them as 'authorization' or in 'headers'")
        place = (url.scheme, host, url.port)
        if place != self._place:  # the client follows redirects to a folder's slash, and from http to https
            self._addresses = await self._destinations.addresses(*place)
            self._place = place
        failure: httpx2.TransportError | None = None
        for address in self._addresses:
            pinned = httpx2.Request(
                request.method,
                url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure

    async def _checked(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        status, headers = response.status_code, response.headers
        events = headers.get("content-type", "").lower().startswith("text/event-stream")
        body = _BoundedStream(response.stream, LARGEST_ANSWER, resumable=events)
        failure: str | None = None
        content = b""
        if headers.get("content-encoding", "identity").lower() != "identity":
            failure = "answered in a content encoding that was not asked for"
        elif 300 <= status < 400 and not _stays(request, headers.get("location")):
            failure = "redirects to another place, which is not followed"
        elif status >= 400:
            with contextlib.suppress(AnswerBroken):
                content = b"".join([part async for part in _BoundedStream(response.stream, _LARGEST_ERROR)])
            if not _is_rpc_error(content):
                failure = _REFUSING.get(status, f"answered with status {status}")
        if failure is not None:
            await response.aclose()
            return _failure(failure, status if status >= 400 else None)
        if status >= 400:
            await response.aclose()
            return httpx2.Response(status, headers={"content-type": "application/json"}, content=content)
        return httpx2.Response(status, headers=headers, stream=body, extensions=response.extensions)


class _BoundedStream(httpx2.AsyncByteStream):
    """resumable: the client knows itself what to do when the connection is lost."""

    def __init__(self, inner: httpx2.AsyncByteStream, limit: int, *, resumable: bool = False) -> None:
        self._inner = inner
        self._limit = limit
        self._resumable = resumable

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._limit
        parts = aiter(self._inner)
        while True:
            try:
                part = await anext(parts)
            except StopAsyncIteration:
                return
            except httpx2.TransportError as error:
                if self._resumable:
                    raise
                raise AnswerBroken(f"the server {_reason(error)}") from error
            left -= len(part)
            if left < 0:
                raise AnswerBroken(f"the answer has more than {self._limit:,} bytes")
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()


def _failure(message: str, status: int | None = None) -> httpx2.Response:
    """status: of the server's own answer; it is the error's data."""
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": FAILED, "message": message, "data": status}}
    headers = {"content-type": "application/json"}
    return httpx2.Response(status or 502, headers=headers, content=orjson.dumps(error))


def _is_rpc_error(content: bytes) -> bool:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return isinstance(body, dict) and body.get("jsonrpc") == "2.0" and isinstance(body.get("error"), dict)


def _stays(request: httpx2.Request, location: str | None) -> bool:
    """Whether a redirect leads to the same host, and keeps the method; the client follows such, and looks closer."""
    try:
        target = request.url.join(location or "")
    except (httpx2.InvalidURL, ValueError):
        return False
    return location is not None and target.raw_host == request.url.raw_host and target.scheme in ("http", "https")


def _reason(error: httpx2.TransportError) -> str:
    if isinstance(error, httpx2.ConnectTimeout):
        return f"cannot be connected to within {CONNECT_TIMEOUT:g} seconds"
    if isinstance(error, httpx2.ConnectError):
        if _has_cause(error, ssl.SSLError):
            return "has no valid certificate for TLS"
        return "cannot be connected to"
    if isinstance(error, httpx2.TimeoutException):
        return "did not answer in time"
    return "gave no proper HTTP answer"


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
