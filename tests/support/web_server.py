"""A web server that answers as a test says, names that resolve as it says, and a fetcher that believes them."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from adapter.security.addresses import AllowedHosts, IPAddress
from adapter.security.fetcher import Fetcher, FetchPolicy

LOOPBACK = AllowedHosts.parse("127.0.0.0/8")
Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers with `handler`, which is given the request's head; keeps all heads."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.heads: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            await self.handler(head, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(handler)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


def answering(*parts: bytes) -> Handler:
    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return handler


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()


class Names:
    """A name server: each look-up of a name takes the next of its answers, and the last one again and again."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[IPAddress]:
        self.asked.append(host)
        answers = self.answers.get(host.partition(".")[0])
        if answers is None:
            raise OSError("no such name")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ipaddress.ip_address(text) for text in answer]


def fetcher(
    *ports: int, names: Names | None = None, timeout: float = 10, tls: ssl.SSLContext | None = None, **policy: object
) -> Fetcher:
    return Fetcher(
        FetchPolicy(allowed=LOOPBACK, ports=frozenset(ports), timeout=timeout, **policy),  # type: ignore[arg-type]
        names or Names(good=[["127.0.0.1"]]),
        tls,
    )
