"""What belongs to one API key is not there for another: at every endpoint that has an id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import openai
import pytest

from launcher.triton_server import TritonServer
from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import user
from tests.support.response_client import ENDLESS, SHORT, Body, cancel, client_for, create, retrieve, stream

OWNER, STRANGER = "tg-owner", "tg-stranger"


class Kept(NamedTuple):
    """Ids of what the owner has. answer: id of an item of the response's output."""

    response: str
    answer: str
    conversation: str
    item: str
    completion: str


@pytest.fixture(scope="module")
def locked(triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterProcess]:
    log = tmp_path_factory.mktemp("keys") / "adapter.log"
    with AdapterProcess(triton.grpc_url, log, api_keys=f"{OWNER}, {STRANGER}") as process:
        yield process


@pytest.fixture(scope="module")
def owner(locked: AdapterProcess) -> Iterator[openai.OpenAI]:
    with client_for(locked, OWNER) as client:
        yield client


@pytest.fixture(scope="module")
def stranger(locked: AdapterProcess) -> Iterator[openai.OpenAI]:
    with client_for(locked, STRANGER) as client:
        yield client


@pytest.fixture(scope="module")
def kept(owner: openai.OpenAI) -> Kept:
    _, response = stream(owner, **SHORT)
    conversation = owner.conversations.create(items=[{"type": "message", "role": "user", "content": "mine"}])
    completion = owner.chat.completions.create(model=models.CHAT, messages=user("Hi"), max_tokens=1, store=True)
    (item,) = owner.conversations.items.list(conversation.id).data
    assert item.id is not None
    return Kept(response["id"], response["output"][0]["id"], conversation.id, item.id, completion.id)


REQUESTS: list[tuple[str, str, Body | None]] = [
    ("GET", "/responses/{response}", None),
    ("GET", "/responses/{response}?stream=true", None),
    ("GET", "/responses/{response}/input_items", None),
    ("POST", "/responses/{response}/cancel", None),
    ("DELETE", "/responses/{response}", None),
    ("GET", "/conversations/{conversation}", None),
    ("POST", "/conversations/{conversation}", {"metadata": {"a": "b"}}),
    ("DELETE", "/conversations/{conversation}", None),
    ("GET", "/conversations/{conversation}/items", None),
    ("POST", "/conversations/{conversation}/items", {"items": [{"role": "user", "content": "x"}]}),
    ("GET", "/conversations/{conversation}/items/{item}", None),
    ("DELETE", "/conversations/{conversation}/items/{item}", None),
    ("GET", "/chat/completions/{completion}", None),
    ("POST", "/chat/completions/{completion}", {"metadata": {"a": "b"}}),
    ("DELETE", "/chat/completions/{completion}", None),
    ("GET", "/chat/completions/{completion}/messages", None),
]


def request(adapter: AdapterProcess, key: str, method: str, path: str, body: Body | None) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.request(method, adapter.base_url + path, json=body, headers=headers, timeout=30.0, trust_env=False)


@pytest.mark.parametrize(
    ("method", "path", "body"), REQUESTS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_it_is_not_there_for_another(
    locked: AdapterProcess, kept: Kept, method: str, path: str, body: Body | None
) -> None:
    """The same answer as to an id that nobody has, but for the id."""
    theirs = request(locked, STRANGER, method, path.format(**kept._asdict()), body)
    nobody = {name: value[:-8] + "deadbeef" for name, value in kept._asdict().items()}
    unknown = request(locked, OWNER, method, path.format(**nobody), body)
    assert theirs.status_code == unknown.status_code == 404, theirs.text
    said = unknown.text
    for name, value in nobody.items():
        said = said.replace(value, getattr(kept, name))
    assert theirs.text == said


def test_it_is_still_there_for_its_owner(owner: openai.OpenAI, kept: Kept) -> None:
    assert retrieve(owner, kept.response)["id"] == kept.response
    assert owner.conversations.retrieve(kept.conversation).metadata == {}
    assert [item.id for item in owner.conversations.items.list(kept.conversation)] == [kept.item]
    assert not owner.chat.completions.retrieve(kept.completion).metadata


@pytest.mark.parametrize(
    ("more", "param"),
    [
        (lambda kept: {"previous_response_id": kept.response}, "previous_response_id"),
        (lambda kept: {"conversation": kept.conversation}, "conversation"),
        (lambda kept: {"input": [{"type": "item_reference", "id": kept.answer}]}, "input[0].id"),
        (lambda kept: {"input": [{"type": "item_reference", "id": kept.item}]}, "input[0].id"),
    ],
)
def test_another_cannot_go_on_from_it(stranger: openai.OpenAI, kept: Kept, more: Any, param: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        create(stranger, **{**SHORT, **more(kept)})
    assert caught.value.param == param


def test_nothing_of_it_is_listed(owner: openai.OpenAI, stranger: openai.OpenAI, kept: Kept) -> None:
    assert kept.completion in [one.id for one in owner.chat.completions.list()]
    assert kept.completion not in [one.id for one in stranger.chat.completions.list()]


def test_one_that_runs_is_not_stopped_by_another(owner: openai.OpenAI, stranger: openai.OpenAI) -> None:
    running = create(owner, **ENDLESS, background=True)
    for ask in (stranger.responses.cancel, stranger.responses.delete, stranger.responses.retrieve):
        with pytest.raises(openai.NotFoundError):
            ask(running["id"])
    assert retrieve(owner, running["id"])["status"] in ("queued", "in_progress")
    assert cancel(owner, running["id"])["status"] == "cancelled"


def test_what_is_sealed_for_one_is_not_read_for_another(owner: openai.OpenAI, stranger: openai.OpenAI) -> None:
    compacted = owner.responses.with_raw_response.compact(
        model=models.GOOD_CHAT, input=[{"role": "user", "content": "My name is Ada."}]
    ).http_response.json()
    asked = {**SHORT, "model": models.GOOD_CHAT, "input": [*compacted["output"], {"role": "user", "content": "Hi"}]}
    assert create(owner, **asked)["output"]
    with pytest.raises(openai.BadRequestError, match="could not be verified"):
        create(stranger, **asked)
