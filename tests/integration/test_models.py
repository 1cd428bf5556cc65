"""`/v1/models`: what Triton serves, with ids that hold slashes."""

from __future__ import annotations

import httpx
import openai
import pytest

from build.catalog import load_catalog
from tests.support import models


def test_list(openai_client: openai.OpenAI) -> None:
    page = openai_client.models.list()
    assert page.object == "list"
    assert [model.id for model in page.data] == sorted(models.ALL)
    assert [model.id for model in openai_client.models.list()] == sorted(models.ALL)  # the client's own paging
    catalog = load_catalog()
    for model in page.data:
        assert model.object == "model"
        assert model.owned_by == catalog.get(model.id).owned_by
        assert model.created == catalog.get(model.id).created > 1_600_000_000


async def test_list_asynchronously(async_openai_client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in async_openai_client.models.list()] == sorted(models.ALL)


@pytest.mark.parametrize("model_id", models.ALL)
def test_retrieve(openai_client: openai.OpenAI, model_id: str) -> None:
    listed = {model.id: model for model in openai_client.models.list()}
    assert openai_client.models.retrieve(model_id) == listed[model_id]


@pytest.mark.parametrize("slash", ["/", "%2F", "%2f"])
def test_retrieve_with_and_without_escapes(adapter_url: str, slash: str) -> None:
    """The client escapes the slashes of an id; a person with curl does not."""
    path = "/v1/models/" + models.CHAT.replace("/", slash)
    request = httpx.Request("GET", adapter_url + path)
    assert request.url.raw_path == path.encode(), "the escapes would not arrive as they are"
    with httpx.Client(trust_env=False) as client:
        response = client.send(request)
    assert response.status_code == 200
    assert response.json()["id"] == models.CHAT


@pytest.mark.parametrize("model_id", ["nothing", "nobody/nothing:1b", "a/b/c", "smollm2-135m-instruct_engine", "ü 🎌"])
def test_retrieve_unknown(openai_client: openai.OpenAI, model_id: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.models.retrieve(model_id)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert caught.value.type == "invalid_request_error"
    assert f"`{model_id}`" in caught.value.message
