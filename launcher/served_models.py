"""Which models a Triton serves, asked over gRPC: for a look from outside, before or beside the adapter."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from adapter.settings import Settings
from adapter.triton.model import Kind, ModelConfigError, ModelDescription, describe, with_adapters
from adapter.triton.targets import Target, parse_targets, resolve
from adapter.triton.tls import channel_credentials
from launcher.errors import LauncherError, SenselessCommand


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


def triton_targets(url: str) -> tuple[Target, ...]:
    """The Tritons of a URL, or of a list of URLs.

    Raises:
        SenselessCommand: it has none of the forms that `adapter.triton.targets` describes.
    """
    try:
        return parse_targets(url)
    except ValueError as error:
        raise SenselessCommand(f"--triton {url}: {error}") from error


def list_served(url: str, timeout: float = 5.0) -> ServedModels:
    """Asks the Triton at `url`; of several, all, and those that do not answer are among the problems.

    Args:
        timeout: seconds for each question.
    Raises:
        SenselessCommand: no such URL.
        TritonUnreachable: nothing answers, or it is no Triton.
    """
    found: list[ServedModels] = []
    away: list[str] = []
    for target in triton_targets(url):
        try:
            found += [_ask(one, timeout) for one in _addresses(target)]
        except TritonUnreachable as error:
            away.append(str(error))
    if not found:
        raise TritonUnreachable("; ".join(away))
    models = {model.id: model for served in reversed(found) for model in served.models}  # the first one's counts
    return ServedModels(
        found[0].version,
        [models[model_id] for model_id in sorted(models)],
        list(dict.fromkeys([*(problem for served in found for problem in served.problems), *away])),
        sorted({name for served in found for name in served.others}),
    )


def _addresses(target: Target) -> tuple[Target, ...]:
    if not target.dns:
        return (target,)
    try:
        return asyncio.run(resolve(target))
    except (OSError, UnicodeError) as error:
        raise TritonUnreachable(f"no Triton answers at {target}: {error}") from None


def _ask(target: Target, timeout: float) -> ServedModels:
    # The certificates that the adapter itself would trust.
    credentials = channel_credentials(Settings().triton_authorities) if target.tls else None
    options = [("grpc.ssl_target_name_override", target.name)]
    channel = (
        grpc.secure_channel(target.label, credentials, options) if credentials else grpc.insecure_channel(target.label)
    )
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
                    found += with_adapters(description)
        except grpc.RpcError as error:
            reason = " ".join(str(error.details()).split())[:200]
            raise TritonUnreachable(f"no Triton answers at {target}: {reason}") from None
    return ServedModels(version, sorted(found, key=lambda model: model.id), problems, others)
