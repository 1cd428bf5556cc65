"""A featureless proxy of the engine's stream: `python -m tests.bench.proxy HOST:PORT MODEL PROMPT_IDS LISTEN_PORT`.

One gRPC stream per HTTP request, each response's token ids as a tiny server-sent event: what any adapter in Python has
to pay. A bare ASGI application on uvicorn with uvloop and httptools; no framework, no checks, no text.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from array import array
from typing import Any

import grpc.aio
import uvicorn
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

HEADERS = [(b"content-type", b"text/event-stream")]


class Proxy:
    def __init__(self, target: str, model: str, prompt: list[int]) -> None:
        self._target = target
        self._model = model
        self._prompt = array("i", prompt)
        self._stub: service_pb2_grpc.GRPCInferenceServiceStub | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if self._stub is None:
            self._stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.aio.insecure_channel(self._target))
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        call = self._stub.ModelStreamInfer()
        await call.write(self._request(int(body)))
        await call.done_writing()
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        while (response := await call.read()) is not grpc.aio.EOF:
            ids = array("i", response.infer_response.raw_output_contents[0])
            chunk = b"data: %b\n\n" % b",".join([b"%d" % token for token in ids])
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})

    def _request(self, tokens: int) -> pb.ModelInferRequest:
        request = pb.ModelInferRequest(model_name=self._model)
        for name, datatype, size, raw in (
            ("input_ids", "INT32", len(self._prompt), self._prompt.tobytes()),
            ("input_lengths", "INT32", 1, struct.pack("<i", len(self._prompt))),
            ("request_output_len", "INT32", 1, struct.pack("<i", tokens)),
            ("streaming", "BOOL", 1, b"\x01"),
        ):
            request.inputs.add(name=name, datatype=datatype, shape=[size])
            request.raw_input_contents.append(raw)
        request.outputs.add(name="output_ids")
        return request


class Server(uvicorn.Server):
    """Says on standard output when it listens, as every worker of the bench does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(json.dumps({"ready": True}), flush=True)


if __name__ == "__main__":
    application = Proxy(sys.argv[1], sys.argv[2], [int(token) for token in sys.argv[3].split(",")])
    config = uvicorn.Config(
        application,
        host="127.0.0.1",
        port=int(sys.argv[4]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
    Server(config).run()
