"""The adapter is there before its Triton: it says so, and serves as soon as it can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import openai
import pytest

from launcher.ports import free_ports
from launcher.triton_server import TritonServer
from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import collect, user
from tests.support.own_adapter import ask, client_of, status, wait_until_served
from tests.support.own_models import repository_of


def test_triton_comes_later(start_adapter: Callable[..., AdapterProcess], tmp_path: Path) -> None:
    port = free_ports(1)[0]
    adapter = start_adapter(triton_url=f"grpc://127.0.0.1:{port}", wait=False)
    with client_of(adapter) as client:
        assert status(adapter, "/health/live") == 200
        ready = httpx.get(f"{adapter.url}/health/ready", trust_env=False)
        assert ready.status_code == 503 and ready.json()["reason"]
        calls: list[Callable[[], object]] = [
            client.models.list,
            lambda: client.models.retrieve(models.CHAT),
            lambda: ask(client),
            lambda: client.chat.completions.create(model=models.CHAT, messages=user("Hi"), stream=True),
            lambda: client.embeddings.create(model=models.EMBEDDING, input="x"),
        ]
        for call in calls:
            with pytest.raises(openai.InternalServerError) as refused:
                call()
            assert refused.value.status_code == 503
            assert refused.value.code == "triton_unavailable"
            assert "Triton" in refused.value.message
        # What is wrong with the request itself can be said without a Triton.
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model=models.CHAT, messages=user("Hi"), temperature=9)

        told = [line for line in adapter.output().splitlines() if "Triton cannot be reached" in line]
        assert len(told) == 1, "it is told once, not at every look"

        repository = repository_of(tmp_path / "models", settings={"slots": 1})
        with TritonServer([repository], tmp_path / "triton", grpc_port=port):
            wait_until_served(adapter)
            assert [model.id for model in client.models.list()] == [models.CHAT]
            streamed = collect(
                client.chat.completions.create(model=models.CHAT, messages=user("Hi"), max_tokens=3, stream=True)
            )
            assert streamed.finish_reason in ("stop", "length")
    assert "Traceback" not in adapter.output()
