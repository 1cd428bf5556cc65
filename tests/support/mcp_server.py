"""A real MCP server (the `mcp` package's own) on 127.0.0.1, with tools that fail, wait and say too much."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import uvicorn
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

TLS = Path(__file__).parents[1] / "data" / "tls"
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c626001000000050001"
    "0d0a2db40000000049454e44ae426082"
)
HUGE = 300_000
"""Characters that `flood` gives, unless it is asked for more or less."""
_MODERN = "2026-07-28"


class Confirmation(BaseModel):
    sure: bool


@dataclass
class RunningMCP:
    """calls: tools that were begun. cancelled: one of them was. release: lets `forecast` go on.

    heads, methods: of each request.
    answer: what every request gets in place of MCP, if set.
    """

    port: int = 0
    calls: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    heads: list[dict[str, str]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    answer: ASGIApp | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"


@contextmanager
def mcp_server(
    *,
    port: int = 0,
    token: str = "",
    json_response: bool = False,
    legacy: bool = False,
    extra: int = 0,
    tls: bool = False,
) -> Iterator[RunningMCP]:
    """Args:
    token: a bearer token that each request has to bring; "" for none.
    json_response: answers as JSON, not as a stream of events.
    legacy: speaks the protocols before 2026 only, with a session and a handshake.
    extra: further tools.
    tls: with the tests' own certificate, of localhost and 127.0.0.1.
    """
    running = RunningMCP(port)
    app = _Door(_server(running, extra).streamable_http_app(json_response=json_response), running, token, legacy)
    config = uvicorn.Config(
        app,
        "127.0.0.1",
        port,
        log_config=None,  # loggers are the whole process's
        timeout_graceful_shutdown=1,
        ssl_certfile=TLS / "cert.pem" if tls else None,
        ssl_keyfile=TLS / "key.pem" if tls else None,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the MCP server does not start"
            thread.join(0.02)
        running.port = server.servers[0].sockets[0].getsockname()[1]
        yield running
    finally:
        running.release.set()
        server.should_exit = True
        thread.join(20)


class _Door:
    """Looks at each request before MCP does."""

    def __init__(self, app: ASGIApp, running: RunningMCP, token: str, legacy: bool) -> None:
        self._app = app
        self._running = running
        self._token = token
        self._legacy = legacy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        self._running.heads.append(dict(request.headers))
        self._running.methods.append(request.method)
        if self._running.answer is not None:
            await self._running.answer(scope, receive, send)
        elif self._token and request.headers.get("authorization") != f"Bearer {self._token}":
            refusal = JSONResponse({"error": "invalid_token"}, 401, {"www-authenticate": "Bearer"})
            await refusal(scope, receive, send)
        elif self._legacy and request.headers.get("mcp-protocol-version") == _MODERN:
            error = {"code": -32600, "message": f"Bad Request: Unsupported protocol version: {_MODERN}"}
            await JSONResponse({"jsonrpc": "2.0", "id": "server-error", "error": error}, 400)(scope, receive, send)
        elif request.url.path == "/moved":
            await Response(status_code=307, headers={"location": "/mcp"})(scope, receive, send)
        elif request.url.path == "/elsewhere":
            other = str(request.url.replace(hostname="localhost", path="/mcp"))
            await Response(status_code=307, headers={"location": other})(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _server(running: RunningMCP, extra: int) -> MCPServer:
    server = MCPServer("weather station")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True), structured_output=False)
    def temperature(city: str) -> str:
        """How warm it is in a city."""
        running.calls.append("temperature")
        return f"It is 21 degrees in {city}."

    @server.tool(structured_output=False)
    def calibrate(sensor: int) -> str:
        """Calibrates a sensor."""
        running.calls.append("calibrate")
        raise ValueError(f"sensor {sensor} is broken")

    @server.tool(structured_output=False)
    async def forecast(city: str) -> str:
        """Takes its time."""
        running.calls.append("forecast")
        try:
            while not running.release.is_set():
                await asyncio.sleep(0.01)
            return f"Rain in {city}."
        except asyncio.CancelledError:
            running.cancelled.set()
            raise

    @server.tool(structured_output=False)
    def flood(size: int = HUGE) -> str:
        """Says too much."""
        return "é" * size

    @server.tool(structured_output=False)
    def photo() -> list[str | Image]:
        """A picture of the sky."""
        return ["The sky:", Image(data=PIXEL, format="png")]

    @server.tool()
    def reading(sensor: int) -> dict[str, int]:
        """What a sensor reads."""
        return {"sensor": sensor, "value": 7}

    @server.tool(structured_output=False)
    def load(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
        """Says which header its argument came in, too."""
        return f"{region} is at 40 %, by {running.heads[-1].get('mcp-param-region')}."

    @server.tool(structured_output=False)
    async def reset(context: Context) -> str:
        """Asks a person first."""
        answer = await context.elicit("Really?", Confirmation)
        return f"The answer was {answer.action}."

    for number in range(extra):
        server.add_tool(lambda: "nothing", name=f"extra_{number}", description="Does nothing.", structured_output=False)
    return server
