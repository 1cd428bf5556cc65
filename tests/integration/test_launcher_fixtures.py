"""The fixtures that every other test of the adapter stands on."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import openai
import pytest

from tests.support import models
from tests.support.adapter_process import AdapterFailed, AdapterProcess


def test_clients_reach_the_adapter(openai_client: openai.OpenAI, adapter_url: str) -> None:
    assert sorted(model.id for model in openai_client.models.list()) == sorted(models.ALL)
    assert httpx.get(f"{adapter_url}/health/ready").status_code == 200


async def test_asynchronous_client(async_openai_client: openai.AsyncOpenAI) -> None:
    assert len([model async for model in async_openai_client.models.list()]) == len(models.ALL)


def test_adapter_with_settings_of_its_own(start_adapter: Callable[..., AdapterProcess]) -> None:
    adapter = start_adapter(api_keys="one,two")
    assert httpx.get(f"{adapter.base_url}/models").status_code == 401
    answer = httpx.get(f"{adapter.base_url}/models", headers={"authorization": "Bearer two"})
    assert answer.status_code == 200
    assert adapter.stop() == 0


def test_adapter_that_does_not_start_says_why(start_adapter: Callable[..., AdapterProcess]) -> None:
    with pytest.raises(AdapterFailed, match="tritongate keys new"):
        start_adapter(triton_url="grpc://127.0.0.1:1", host="0.0.0.0")
