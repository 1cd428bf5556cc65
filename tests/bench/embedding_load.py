"""Embedding requests from one process: `python -m tests.bench.embedding_load direct|adapter HOST:PORT`.

`direct` calls the Triton ensemble over `tritonclient.grpc.aio`, `adapter` posts to /v1/embeddings over bare sockets.
A `Run` means: `streams` at a time, each `requests` in a row, each of `tokens` texts. Both send the same texts.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient

from tests.bench.engine_model import WORDS
from tests.bench.worker import Outcome, Run, WorkerFailed, serve
from tests.support import models
from tests.support.own_models import triton_name

REQUEST_TIMEOUT = 240.0  # seconds


def texts_of(request: int, count: int) -> list[str]:
    """Sentences of 8 to 23 words; those of another request are others."""
    words = WORDS.split()
    return [
        " ".join(words[(number * 7 + place) % len(words)] for place in range(8 + number % 16))
        for number in range(request * count, (request + 1) * count)
    ]


def check_vectors(vectors: npt.NDArray[np.float32], count: int) -> None:
    """Raises WorkerFailed unless there are `count` vectors of length 1."""
    if vectors.ndim != 2 or len(vectors) != count:
        raise WorkerFailed(f"vectors of shape {list(vectors.shape)}, {count} were asked for")
    if not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):
        raise WorkerFailed("a vector is not of length 1")


class Direct:
    """One gRPC channel; every request is one call of the ensemble."""

    def __init__(self, target: str) -> None:
        self._client = InferenceServerClient(target)

    async def vectors(self, texts: list[str]) -> Any:
        values = np.array([text.encode() for text in texts], np.object_).reshape(-1, 1)
        tensor = InferInput("text", list(values.shape), "BYTES")
        tensor.set_data_from_numpy(values)
        return await self._client.infer(triton_name(models.EMBEDDING), [tensor], client_timeout=REQUEST_TIMEOUT)

    @staticmethod
    def read(answer: Any) -> npt.NDArray[np.float32]:
        return np.asarray(answer.as_numpy("sentence_embedding"))

    async def close(self) -> None:
        await self._client.close()


class OverHTTP:
    """One connection; base64, which is what OpenAI's own client asks for."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._address = (host, int(port))
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def vectors(self, texts: list[str]) -> Any:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=1 << 24)
        reader, writer = self._streams
        body = json.dumps({"model": models.EMBEDDING, "input": texts, "encoding_format": "base64"}).encode()
        writer.write(
            b"POST /v1/embeddings HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer bench\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        content = await reader.readexactly(length)
        if not head.startswith(b"http/1.1 200"):
            raise WorkerFailed(f"the answer is {content[:500]!r}")
        return content

    @staticmethod
    def read(answer: Any) -> npt.NDArray[np.float32]:
        data = json.loads(answer)["data"]
        return np.array([np.frombuffer(base64.b64decode(entry["embedding"]), "<f4") for entry in data])

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


class Load:
    """Args: kind: `direct` or `adapter`."""

    def __init__(self, kind: str, target: str) -> None:
        self._kind = kind
        self._target = target

    async def run(self, run: Run) -> Outcome:
        clients: list[Direct] | list[OverHTTP]
        if self._kind == "direct":
            clients = [Direct(self._target)]
        else:
            clients = [OverHTTP(self._target) for _ in range(run.streams)]

        async def requests(stream: int) -> list[Any]:
            client = clients[stream % len(clients)]
            first = stream * run.requests
            return [
                await asyncio.wait_for(client.vectors(texts_of(first + number, run.tokens)), REQUEST_TIMEOUT)
                for number in range(run.requests)
            ]

        start = time.perf_counter()
        try:
            answers = await asyncio.gather(*[requests(stream) for stream in range(run.streams)])
            seconds = time.perf_counter() - start
        finally:
            for client in clients:
                await client.close()
        for stream in answers:
            for answer in stream:  # read when the clock has stopped: neither side pays for it
                check_vectors(clients[0].read(answer), run.tokens)
        return Outcome(seconds, [])


if __name__ == "__main__":
    serve(Load(sys.argv[1], sys.argv[2]).run)
