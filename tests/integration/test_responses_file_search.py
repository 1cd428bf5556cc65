"""Responses that search in vector stores: the real engine, the real embedding model, and the real client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.response_fold import ResponseFold
from tests.support.response_models import check_event, check_response

FACTS = {
    "zebra.txt": "The zebra Moritz of the town's zoo was born in the year 1987.",
    "bridge.txt": "The iron bridge across the river has a length of 312 metres.",
}


@pytest.fixture(scope="module")
def store(adapter: AdapterProcess) -> Iterator[tuple[str, dict[str, str]]]:
    """A vector store, and the ids of its files by name."""
    with openai.OpenAI(base_url=adapter.base_url, api_key="any", max_retries=0, timeout=60) as client:
        made = client.vector_stores.create()
        ids = {}
        for name, text in FACTS.items():
            file = client.vector_stores.files.upload_and_poll(
                vector_store_id=made.id, file=(name, text.encode()), attributes={"name": name}
            )
            assert file.status == "completed"
            ids[name] = file.id
        yield made.id, ids
        client.vector_stores.delete(made.id)


def request(store: str, **more: Any) -> dict[str, Any]:
    return {
        "model": models.GOOD_CHAT,
        "input": "In which year was the zebra Moritz born?",
        "tools": [{"type": "file_search", "vector_store_ids": [store], **more.pop("tool", {})}],
        "tool_choice": {"type": "file_search"},
        "temperature": 0,
        "max_output_tokens": 200,
        "max_tool_calls": 1,
        **more,
    }


def create(client: openai.OpenAI, **asked: Any) -> dict[str, Any]:
    body: dict[str, Any] = client.responses.with_raw_response.create(**asked).http_response.json()
    check_response(body)
    return body


def test_files_are_searched_and_cited(openai_client: openai.OpenAI, store: tuple[str, dict[str, str]]) -> None:
    vector_store, ids = store
    response = create(openai_client, **request(vector_store, include=["file_search_call.results"]))
    call, message = response["output"]
    assert call["type"] == "file_search_call" and call["status"] == "completed" and call["queries"]
    assert {result["file_id"] for result in call["results"]} == set(ids.values())
    assert {result["text"] for result in call["results"]} == set(FACTS.values())
    scores = [result["score"] for result in call["results"]]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    assert call["results"][0]["attributes"] == {"name": call["results"][0]["filename"]}
    part = message["content"][0]
    assert part["annotations"]
    for annotation in part["annotations"]:
        assert annotation["type"] == "file_citation" and ids[annotation["filename"]] == annotation["file_id"]
        assert 0 <= annotation["index"] <= len(part["text"])
    kept = openai_client.responses.with_raw_response.retrieve(response["id"]).http_response.json()
    assert kept == response


def test_results_are_shown_only_where_they_are_asked_for(
    openai_client: openai.OpenAI, store: tuple[str, dict[str, str]]
) -> None:
    instructions = "Search the files, then answer in one plain sentence."
    response = create(openai_client, **request(store[0], tool={"max_num_results": 1}, instructions=instructions))
    call, message = response["output"]
    assert call["results"] is None
    # The model has it from the file alone.
    assert "1987" in message["content"][0]["text"] and "1987" not in json.dumps(call)


def test_filters_and_number_of_results(openai_client: openai.OpenAI, store: tuple[str, dict[str, str]]) -> None:
    include = ["file_search_call.results"]
    tool: dict[str, Any] = {"filters": {"type": "eq", "key": "name", "value": "bridge.txt"}}
    call = create(openai_client, **request(store[0], tool=tool, include=include))["output"][0]
    assert [result["filename"] for result in call["results"]] == ["bridge.txt"]
    tool = {"max_num_results": 1}
    call = create(openai_client, **request(store[0], tool=tool, include=include))["output"][0]
    assert len(call["results"]) == 1
    tool = {"ranking_options": {"score_threshold": 1.0}}
    call = create(openai_client, **request(store[0], tool=tool, include=include))["output"][0]
    assert call["results"] == [] and call["status"] == "completed"


def test_the_stream_tells_the_same(openai_client: openai.OpenAI, store: tuple[str, dict[str, str]]) -> None:
    fold, types = ResponseFold(), []
    with openai_client.responses.with_streaming_response.create(stream=True, **request(store[0])) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                check_event(event)
                fold.add(event)
                types.append(event["type"])
    assert fold.ended
    check_response(fold.response)
    assert [name for name in types if "file_search" in name] == [
        "response.file_search_call.in_progress",
        "response.file_search_call.searching",
        "response.file_search_call.completed",
    ]
    assert "response.output_text.annotation.added" in types
    kept = openai_client.responses.with_raw_response.retrieve(fold.response["id"]).http_response.json()
    assert kept == fold.response


def test_a_vector_store_that_is_not_there(openai_client: openai.OpenAI) -> None:
    for streamed in (False, True):
        with pytest.raises(openai.NotFoundError, match="Vector store with id 'vs_none' not found") as raised:
            openai_client.responses.create(**request("vs_none"), stream=streamed)
        assert raised.value.param == "tools[0].vector_store_ids"
