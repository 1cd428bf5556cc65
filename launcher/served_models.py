"""Which models a Triton serves, asked over gRPC: for a look from outside, before or beside the adapter."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from adapter.settings import Settings
from adapter.triton.model import Kind, ModelConfigError, ModelDescription, describe
from adapter.triton.tls import channel_credentials
from launcher.errors import LauncherError


class TritonUnreachable(LauncherError):
    """No Triton answers at the URL; the message names it."""


@dataclass(frozen=True)
class ServedModels:
    """What one Triton serves.

    Attributes:
        version: of the server.
        models: those that the adapter serves, by id.
        problems: models whose configuration cannot be understood, a sentence each.
        others: names of the ready Triton models that do not describe themselves: parts of the above, or foreign.
    """

    version: str
    models: list[ModelDescription]
    problems: list[str]
    others: list[str]

    def first(self, kind: Kind) -> ModelDescription | None:
        return next((model for model in self.models if model.kind is kind), None)


def grpc_target(url: str) -> tuple[str, bool]:
    """`host:port` of a Triton URL, and whether it is spoken to over TLS.

    Raises:
        LauncherError: it is not of the form `grpc://host:port` or `grpcs://host:port`.
    """
    scheme, _, target = url.partition("://")
    host, _, port = target.rpartition(":")
    if scheme not in ("grpc", "grpcs") or not host or not port.isdigit():
        raise LauncherError(f"--triton {url}: not of the form grpc://host:port or grpcs://host:port")
    return target, scheme == "grpcs"


def list_served(url: str, timeout: float = 5.0) -> ServedModels:
    """Asks the Triton at `url` (`grpc://host:port` or `grpcs://host:port`).

    Args:
        timeout: seconds for each question.
    Raises:
        LauncherError: no such URL.
        TritonUnreachable: nothing answers, or it is no Triton.
    """
    target, secure = grpc_target(url)
    # The certificates that the adapter itself would trust.
    credentials = channel_credentials(Settings().triton_authorities) if secure else None
    channel = grpc.secure_channel(target, credentials) if secure else grpc.insecure_channel(target)
    found: list[ModelDescription] = []
    problems: list[str] = []
    others: list[str] = []
    with channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            version = stub.ServerMetadata(service_pb2.ServerMetadataRequest(), timeout=timeout).version
            index = stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True), timeout=timeout)
            for name in sorted({model.name for model in index.models}):
                answer = stub.ModelConfig(service_pb2.ModelConfigRequest(name=name), timeout=timeout)
                try:
                    description = describe(answer.config)
                except ModelConfigError as error:
                    problems.append(str(error))
                    continue
                if description is None:
                    others.append(name)
                else:
                    found.append(description)
        except grpc.RpcError as error:
            reason = " ".join(str(error.details()).split())[:200]
            raise TritonUnreachable(f"no Triton answers at {url}: {reason}") from None
    return ServedModels(version, sorted(found, key=lambda model: model.id), problems, others)
