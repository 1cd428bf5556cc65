"""HTTP load that costs little itself: `python -m tests.bench.http_load PORT chat|responses|proxy`.

Bare sockets; answers are only collected while the clock runs, and checked token by token afterwards.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import uvloop

from tests.bench.engine_model import MODEL_ID, WORDS
from tests.bench.worker import Outcome, Run, WorkerFailed, serve

LAST_EVENT = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"  # of an answer in chunks
REQUEST_TIMEOUT = 240.0  # seconds


class Answer(asyncio.Protocol):
    """One connection; each request's answer is one byte string."""

    def __init__(self, marker: bytes) -> None:
        self._marker = marker  # is in the first event that carries a token, and in none before
        self._data = bytearray()
        self._done: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self.first_token = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def request(self, head_and_body: bytes) -> asyncio.Future[bytes]:
        assert self._transport is not None
        self._data = bytearray()
        self.first_token = 0.0
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(head_and_body)
        return self._done

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self.first_token and self._marker in self._data:
            self.first_token = time.perf_counter()
        if self._done is None or self._done.done():
            return
        if not self._data.startswith(b"HTTP/1.1 200"):
            self._done.set_exception(WorkerFailed(f"the answer is {bytes(self._data[:500])!r}"))
        elif self._data.endswith(END):
            self._done.set_result(bytes(self._data))

    def connection_lost(self, error: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(WorkerFailed(f"the connection ended: {bytes(self._data[-500:])!r}"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Load:
    """Args: kind: `chat` or `responses` (the adapter), or `proxy`."""

    def __init__(self, port: int, kind: str) -> None:
        self._port = port
        self._kind = kind

    async def run(self, run: Run) -> Outcome:
        marker = {"chat": b'"content":"', "responses": b'"delta":"'}.get(self._kind, b"data: ")
        connections = [await self._connect(marker) for _ in range(run.streams)]
        request = self._request(run.tokens)
        first_tokens: list[float] = []
        start = time.perf_counter()
        try:
            answers = await asyncio.gather(
                *[self._requests(connection, request, run.requests, first_tokens) for connection in connections]
            )
            seconds = time.perf_counter() - start
        finally:
            for connection in connections:
                connection.close()
        for stream in answers:
            for answer in stream:
                self._check(answer, run.tokens)
        return Outcome(seconds, first_tokens)

    async def _connect(self, marker: bytes) -> Answer:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: Answer(marker), "127.0.0.1", self._port))[1]

    async def _requests(self, connection: Answer, request: bytes, count: int, first_tokens: list[float]) -> list[bytes]:
        answers = []
        for _ in range(count):
            start = time.perf_counter()
            answers.append(await asyncio.wait_for(connection.request(request), REQUEST_TIMEOUT))
            first_tokens.append(connection.first_token - start)
        return answers

    def _request(self, tokens: int) -> bytes:
        body = str(tokens).encode()
        path = "/v1/chat/completions"
        if self._kind == "chat":
            messages = [{"role": "user", "content": "Say many words."}]
            wanted = {"model": MODEL_ID, "messages": messages, "max_tokens": tokens, "stream": True}
            body = json.dumps(wanted).encode()
        elif self._kind == "responses":  # stored, as they are unless a client says otherwise
            path = "/v1/responses"
            said = {"model": MODEL_ID, "input": "Say many words.", "max_output_tokens": tokens, "stream": True}
            body = json.dumps(said).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer bench\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _check(self, answer: bytes, tokens: int) -> None:
        """Raises WorkerFailed unless the answer holds exactly the tokens asked for."""
        rest = answer.partition(b"\r\n\r\n")[2]
        events = [event for event in dechunked(rest).split(b"\n\n") if event]
        if not events or events.pop() != LAST_EVENT.strip():
            raise WorkerFailed(f"a stream has no end: {rest[-500:]!r}")
        if self._kind == "proxy":
            received = sum(event.count(b",") + 1 for event in events)
        elif self._kind == "responses":
            received = checked_response(events, tokens)
        else:
            received = checked_chat(events, tokens)
        if received != tokens:
            raise WorkerFailed(f"a stream brought {received} tokens, {tokens} were asked for")


def checked_chat(events: list[bytes], tokens: int) -> int:
    """How many tokens a streamed chat completion holds.

    Raises:
        WorkerFailed: an error event, another text than the engine's, or another finish reason than `length`.
    """
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
    if problem := next((chunk for chunk in chunks if "error" in chunk), None):
        raise WorkerFailed(f"an error in the stream: {problem}")
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join([choice["delta"].get("content") or "" for choice in choices])
    _check_text(text, tokens)
    reasons = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    if reasons != ["length"]:
        raise WorkerFailed(f"finish reasons {reasons}, not one `length`")
    usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    return int(usage[-1]["completion_tokens"]) if usage else len(text.split())


def checked_response(events: list[bytes], tokens: int) -> int:
    """How many tokens a streamed response holds, by its own usage.

    Raises:
        WorkerFailed: it did not end for its length, or has another text than the engine's.
    """
    wires = [json.loads(event.partition(b"\ndata: ")[2]) for event in events]
    if wires[-1]["type"] != "response.incomplete":
        raise WorkerFailed(f"the last event is {wires[-1]}")
    _check_text("".join([wire["delta"] for wire in wires if wire["type"] == "response.output_text.delta"]), tokens)
    return int(wires[-1]["response"]["usage"]["output_tokens"])


def _check_text(text: str, tokens: int) -> None:
    words = WORDS.split()
    wanted = "".join([f" {words[place % len(words)]}" for place in range(tokens)])
    if text != wanted:
        raise WorkerFailed(f"{len(text)} characters of text, not the engine's {len(wanted)}: {text[-100:]!r}")


def dechunked(body: bytes) -> bytes:
    """The content of a body in HTTP/1.1 chunks."""
    content = bytearray()
    place = 0
    while True:
        line_end = body.index(b"\r\n", place)
        size = int(body[place:line_end], 16)
        if size == 0:
            return bytes(content)
        content += body[line_end + 2 : line_end + 2 + size]
        place = line_end + 2 + size + 2


if __name__ == "__main__":
    uvloop.install()
    serve(Load(int(sys.argv[1]), sys.argv[2]).run)
