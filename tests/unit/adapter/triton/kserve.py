"""A gRPC server with the part of the KServe protocol that the adapter uses: real wire, no Triton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import model_config_pb2, service_pb2_grpc
from tritonclient.grpc import service_pb2 as pb


class KServe(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers for `configs`; models in `files` hand out the files of a folder; `asked` counts questions.

    `generate` yields the engine's responses to a request; `left` is set when a stream has ended,
    by its end or by the client's leaving.
    """

    def __init__(self) -> None:
        self.generate: Callable[[pb.ModelInferRequest, Any], AsyncIterator[pb.ModelInferResponse]] | None = None
        self.left = asyncio.Event()
        self.configs: dict[str, model_config_pb2.ModelConfig] = {}
        self.states: dict[str, str] = {}
        self.files: dict[str, Path] = {}
        self.asked: list[str] = []
        self.gone: set[str] = set()  # in the index, but unloaded when asked for
        self.empty: set[str] = set()  # answer without any output

    def add(self, config: model_config_pb2.ModelConfig) -> None:
        self.configs[config.name] = config

    def hand_out(self, name: str, folder: Path) -> None:
        """A preprocessing model that hands out the tokenizer in `folder`."""
        self.add(model_config_pb2.ModelConfig(name=name))
        self.files[name] = folder

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:
        self.asked.append("index")
        answer = pb.RepositoryIndexResponse()
        for name in self.configs:
            answer.models.add(name=name, version="1", state=self.states.get(name, "READY"))
        return answer

    async def ModelConfig(self, request: Any, context: Any) -> Any:
        self.asked.append(f"config {request.name}")
        if request.name in self.gone or request.name not in self.configs:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model: '{request.name}'")
        return pb.ModelConfigResponse(config=self.configs[request.name])

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        (tensor,), (raw,) = request.inputs, request.raw_input_contents
        name = raw[4:].decode()
        self.asked.append(f"file {name}")
        assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("file_name", "BYTES", [1])
        assert [output.name for output in request.outputs] == ["file_content"]
        path = self.files[request.model_name] / name
        if not path.is_file():
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {name}")
        answer = pb.ModelInferResponse(model_name=request.model_name)
        if request.model_name not in self.empty:
            content = path.read_bytes()
            answer.outputs.add(name="file_content", datatype="BYTES", shape=[1])
            answer.raw_output_contents.append(len(content).to_bytes(4, "little") + content)
        return answer

    async def ModelStreamInfer(self, requests: Any, context: Any) -> Any:
        assert self.generate is not None
        context.add_done_callback(lambda _: self.left.set())
        async for request in requests:
            async for response in self.generate(request, context):
                yield pb.ModelStreamInferResponse(infer_response=response)


@asynccontextmanager
async def serving(service: KServe, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serves on a loopback address; yields the port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    port = server.add_insecure_port(f"{host}:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
