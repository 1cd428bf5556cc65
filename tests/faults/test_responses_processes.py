"""Two adapters with one PostgreSQL: what one makes, the other knows; and what is left when one of them is killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import NamedTuple

import openai
import pytest

from launcher.triton_server import TritonServer
from tests.support.adapter_process import AdapterProcess
from tests.support.metrics import wait_until_idle
from tests.support.postgres import running_postgres
from tests.support.response_client import (
    ENDLESS,
    SHORT,
    cancel,
    client_for,
    create,
    events,
    follow,
    resumed,
    retrieve,
    stream,
    text_of,
    wait_for,
)
from tests.support.response_fold import fold

KEYS = "tg-first, tg-second"
LEASE = 12.0  # seconds that a process may be silent
NOTICED = LEASE + 10.0


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with running_postgres() as server:
        yield server.url(server.create())


class Pair(NamedTuple):
    one: AdapterProcess
    other: AdapterProcess


@pytest.fixture(scope="module")
def pair(triton: TritonServer, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    with (
        AdapterProcess(triton.grpc_url, folder / "one.log", store_url=database, api_keys=KEYS) as one,
        AdapterProcess(triton.grpc_url, folder / "other.log", store_url=database, api_keys=KEYS) as other,
    ):
        yield Pair(one, other)


@pytest.fixture
def here(pair: Pair) -> Iterator[openai.OpenAI]:
    with client_for(pair.one, "tg-first") as client:
        yield client


@pytest.fixture
def there(pair: Pair) -> Iterator[openai.OpenAI]:
    with client_for(pair.other, "tg-first") as client:
        yield client


def test_what_one_made_the_other_has(here: openai.OpenAI, there: openai.OpenAI) -> None:
    first = create(here, **SHORT)
    assert retrieve(there, first["id"]) == first
    second = create(there, **SHORT, previous_response_id=first["id"])
    assert text_of(second) == text_of(create(here, **SHORT, previous_response_id=first["id"]))
    assert there.responses.input_items.list(first["id"]).data
    there.responses.delete(first["id"])
    with pytest.raises(openai.NotFoundError):
        here.responses.retrieve(first["id"])


def test_a_stream_of_one_is_taken_up_at_the_other(here: openai.OpenAI, there: openai.OpenAI) -> None:
    first = follow(lambda: events(here, **{**ENDLESS, "max_output_tokens": 150}, background=True))
    response_id = first.events[0]["response"]["id"]
    elsewhere = list(resumed(there, response_id))
    first.join(30)
    assert elsewhere == first.events
    assert fold(elsewhere) == retrieve(here, response_id) == retrieve(there, response_id)
    assert list(resumed(there, response_id, 5)) == elsewhere[6:]


def test_one_is_cancelled_at_the_other(here: openai.OpenAI, there: openai.OpenAI, pair: Pair) -> None:
    followed = follow(lambda: events(here, **ENDLESS, background=True))
    response_id = followed.events[0]["response"]["id"]
    cancelled = cancel(there, response_id)
    assert cancelled["status"] == "cancelled"
    followed.join(15)
    wait_until_idle(pair.one.url, key="tg-first")
    assert retrieve(here, response_id) == cancelled


def test_deleted_at_the_other_it_ends(here: openai.OpenAI, there: openai.OpenAI, pair: Pair) -> None:
    followed = follow(lambda: events(here, **ENDLESS, background=True))
    there.responses.delete(followed.events[0]["response"]["id"])
    followed.join(15)
    wait_until_idle(pair.one.url, key="tg-first")


def test_a_conversation_is_locked_for_the_other(here: openai.OpenAI, there: openai.OpenAI) -> None:
    conversation = here.conversations.create()
    running = create(here, **ENDLESS, background=True, conversation=conversation.id)
    with pytest.raises(openai.BadRequestError) as caught:
        create(there, **SHORT, conversation=conversation.id)
    assert caught.value.code == "conversation_locked"
    cancel(there, running["id"])
    create(there, **SHORT, conversation=conversation.id)
    assert len(list(here.conversations.items.list(conversation.id))) == 2


def test_another_key_sees_nothing_at_either(here: openai.OpenAI, pair: Pair) -> None:
    response = create(here, **SHORT)
    for adapter in pair:
        with client_for(adapter, "tg-second") as stranger, pytest.raises(openai.NotFoundError):
            stranger.responses.retrieve(response["id"])


def test_one_that_is_killed_leaves_nothing_hanging(
    triton: TritonServer, database: str, there: openai.OpenAI, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("killed") / "adapter.log"
    conversation = there.conversations.create()
    with (
        AdapterProcess(triton.grpc_url, log, store_url=database, api_keys=KEYS) as doomed,
        client_for(doomed, "tg-first") as client,
    ):
        watched = follow(lambda: events(client, **ENDLESS, background=True, conversation=conversation.id))
        background_id = watched.events[0]["response"]["id"]
        streamed = follow(lambda: events(client, **ENDLESS))
        streamed_id = streamed.events[0]["response"]["id"]
        time.sleep(1)  # some of it is kept by then
        elsewhere = follow(lambda: resumed(there, background_id))
        doomed.process.send_signal(signal.SIGKILL)
        doomed.process.wait(10)
        assert retrieve(there, background_id)["status"] in ("queued", "in_progress"), "nobody can know yet"
        failed = wait_for(there, background_id, timeout=NOTICED)
        assert failed["status"] == "failed" and failed["error"]["code"] == "server_error"
        assert "stopped before it was complete" in failed["error"]["message"]
        for one in (watched, streamed):
            one.join(10)
            assert one.error is not None, "a stream that was cut off looks complete"
        elsewhere.join(10)
        assert elsewhere.error is None
        assert elsewhere.events[-1]["type"] == "response.failed"
        assert elsewhere.events[-1]["response"] == failed
        assert len(elsewhere.events) > 3 and elsewhere.events[:-1] == watched.events[: len(elsewhere.events) - 1]
        assert list(resumed(there, background_id)) == elsewhere.events
        assert wait_for(there, streamed_id, timeout=NOTICED)["status"] == "failed"
        with pytest.raises(openai.BadRequestError, match="cannot be continued"):
            create(there, **SHORT, previous_response_id=background_id)
        create(there, **SHORT, conversation=conversation.id)  # nobody holds it any more
        assert len(list(there.conversations.items.list(conversation.id))) == 2
        assert cancel(there, background_id) == failed


def test_the_store_is_still_whole(here: openai.OpenAI, there: openai.OpenAI) -> None:
    _, response = stream(here, **SHORT, background=True)
    assert retrieve(there, response["id"]) == response
