"""A connection to one MCP server, by streamable HTTP, for as long as a response is made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx2
from mcp import Client
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    HEADER_MISMATCH,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    InputRequiredResult,
    ListToolsResult,
    PaginatedRequestParams,
)
from pydantic import TypeAdapter, ValidationError

from adapter.security.addresses import AllowedHosts
from adapter.security.destinations import CONNECT_TIMEOUT, Destinations
from adapter.security.resolver import Resolve
from adapter.telemetry.logs import describe_exception
from adapter.tools.mcp_transport import FAILED, LARGEST_ANSWER, PinnedTransport

_T = TypeVar("_T")

logger = logging.getLogger("tritongate.tools")

_CALLED: TypeAdapter[CallToolResult | InputRequiredResult] = TypeAdapter(CallToolResult | InputRequiredResult)
_UNREADABLE = ("Failed to parse JSON response: ", "SSE stream failed: ")  # the client's own words
_LONGEST_MESSAGE = 2000  # characters of a server's error that are handed on
_MOST_PAGES = 32
_CLOSING = 3.0  # seconds: a server is told of the end, and may be slow to hear it
_US = Implementation(name="tritongate", version="0")


class McpFailed(Exception):
    """A request has no result. The message is a predicate of the server.

    code: JSON-RPC's; `FAILED` where it is not the server's answer.
    status: of HTTP, where that was an error.
    """

    def __init__(self, message: str, code: int = FAILED, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class McpConnector:
    """What all connections to MCP servers have in common; one for the process.

    Args:
        allowed: hosts and networks that may be connected to although they are not public.
        ports: that may be connected to.
        resolve: names to addresses; the system's resolver if None.
        tls: what certificates are trusted; the usual authorities, or those of SSL_CERT_FILE, if None.
    """

    def __init__(
        self,
        allowed: AllowedHosts,
        ports: frozenset[int] = frozenset({80, 443}),
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._destinations = Destinations(allowed, ports, resolve)
        self._tls = tls or httpx2.create_ssl_context()

    def session(self, url: str, headers: Mapping[str, str]) -> McpSession:
        """Not connected yet."""
        return McpSession(self, url, headers)

    @contextlib.asynccontextmanager
    async def connection(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Client]:
        """To be entered and left in one task: what MCP's client starts in it is bound to that."""
        transport = PinnedTransport(self._destinations, self._tls)
        timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT)
        http = httpx2.AsyncClient(transport=transport, headers=_encoded(headers), timeout=timeout, trust_env=False)
        async with http:
            streams = streamable_http_client(url, http_client=http, max_sse_event_size=LARGEST_ANSWER)
            async with Client(streams, client_info=_US, cache=None) as client:
                yield client

    def close(self) -> None:
        self._destinations.close()


class McpSession:
    """Requests may be made from several tasks, and cancelled; the server is told of that.

    The connection lives in a task of its own. It is made with the first request, and again with the next one after it
    was lost.
    """

    def __init__(self, connector: McpConnector, url: str, headers: Mapping[str, str]) -> None:
        self._connector = connector
        self._url = url
        self._headers = headers
        self._leave = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()

    async def tool_pages(self) -> AsyncIterator[ListToolsResult]:
        """The server's list of tools, page by page.

        Raises:
            McpFailed
        """
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await self._request(_list(cursor))
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return
        raise McpFailed(f"lists its tools on more than {_MOST_PAGES} pages")

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        """Raises McpFailed."""
        # Not the client's own call_tool: that would run the server's schema over the result, on the event loop.
        request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=arguments))

        async def send(session: ClientSession) -> CallToolResult:
            result = await session.send_request(request, _CALLED)
            if isinstance(result, InputRequiredResult):
                raise McpFailed("asks a person for input, and there is none here")
            return result

        try:
            return await self._request(send)
        except McpFailed as failed:
            if failed.code != HEADER_MISMATCH:
                raise
        # Arguments that go into headers, too, are known from the list only: MCP 2026-07-28 has it asked for then.
        async for _ in self.tool_pages():
            pass
        return await self._request(send)

    async def aclose(self) -> None:
        task = self._task
        if task is None:
            return
        self._leave.set()
        try:
            if self._ready.done():  # else there is nothing to take leave of
                await asyncio.wait({task}, timeout=_CLOSING)
        finally:
            task.cancel()
        await asyncio.wait({task}, timeout=_CLOSING)

    async def _request(self, send: Callable[[ClientSession], Awaitable[_T]]) -> _T:
        session, task = await self._connected()
        work = asyncio.ensure_future(send(session))
        try:
            await asyncio.wait({work, task}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise McpFailed("closed the connection")
            return work.result()
        except McpFailed:
            raise
        except Exception as error:
            raise _failed(error) from error
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work}, timeout=_CLOSING)

    async def _connected(self) -> tuple[ClientSession, asyncio.Task[None]]:
        if self._task is None or self._task.done():
            self._ready = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._live(self._ready))
        task, ready = self._task, self._ready
        return await asyncio.shield(ready), task

    async def _live(self, ready: asyncio.Future[ClientSession]) -> None:
        try:
            async with self._connector.connection(self._url, self._headers) as client:
                ready.set_result(client.session)
                await self._leave.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(_failed(_first(error)))
                ready.exception()  # nobody may be waiting any more
            if not isinstance(error, Exception):
                raise


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    given = {"user-agent": "tritongate", **{name.lower(): value for name, value in headers.items()}}
    return [(name.encode("ascii"), value.strip(" \t").encode("latin-1")) for name, value in given.items()]


def _list(cursor: str | None) -> Callable[[ClientSession], Awaitable[ListToolsResult]]:
    params = PaginatedRequestParams(cursor=cursor) if cursor is not None else None
    return lambda session: session.list_tools(params=params)


def _first(error: BaseException) -> BaseException:
    """What stopped a connection: task groups wrap it."""
    while inner := getattr(error, "exceptions", ()):
        error = inner[0]
    return error


def _failed(error: BaseException) -> McpFailed:
    if isinstance(error, MCPError):
        message = error.error.message[:_LONGEST_MESSAGE].rstrip(" .")  # a predicate
        if error.code == FAILED:
            status = error.error.data
            return McpFailed(message, FAILED, status if isinstance(status, int) else None)
        for begin in _UNREADABLE:
            if message.startswith(begin):
                return McpFailed(f"gave no answer that can be read: {message[len(begin) :]}", error.code)
        if error.code == CONNECTION_CLOSED:
            return McpFailed("closed the connection before it had answered", error.code)
        return McpFailed(f"answered with an error: {message}", error.code)
    if isinstance(error, ValidationError):
        return McpFailed("gave an answer that is none of MCP")
    fields = describe_exception(error)
    if not isinstance(error, asyncio.CancelledError):
        logger.warning("connection to an MCP server failed", extra={"fields": fields})
    return McpFailed("cannot be used")
