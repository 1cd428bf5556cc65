"""What `--triton` shows of one Triton, and of several."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as pb

from launcher.errors import LauncherError
from launcher.served_models import TritonUnreachable, list_served
from tests.unit.adapter.served import engine_config
from tests.unit.adapter.triton.kserve import KServe, serving


class Triton(KServe):
    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        return pb.ServerMetadataResponse(name="triton", version="2.51.0")


def triton_with(*models: tuple[str, str]) -> Triton:
    service = Triton()
    for name, served_id in models:
        service.add(engine_config(name, served_id, tokenizer_dir=str(Path("nowhere"))))
    return service


async def test_several() -> None:
    first = triton_with(("a_engine", "maker/a"), ("b_engine", "maker/b"))
    second = triton_with(("b_engine", "maker/b"), ("c_engine", "maker/c"))
    async with serving(first) as one, serving(second) as two:
        url = f"grpc://127.0.0.1:{one},grpc://127.0.0.1:1,grpc://127.0.0.1:{two}"
        served = await asyncio.to_thread(list_served, url)
    assert [model.id for model in served.models] == ["maker/a", "maker/b", "maker/c"]
    assert served.version == "2.51.0"
    (problem,) = served.problems
    assert problem.startswith("no Triton answers at grpc://127.0.0.1:1: ")


def test_none_answers() -> None:
    with pytest.raises(TritonUnreachable, match=r"127\.0\.0\.1:1: .*; no Triton answers at .*127\.0\.0\.1:2"):
        list_served("grpc://127.0.0.1:1,grpc://127.0.0.1:2")


def test_no_url() -> None:
    with pytest.raises(LauncherError, match="grpc://host:port"):
        list_served("http://127.0.0.1:1")
