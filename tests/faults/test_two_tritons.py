"""Two Tritons behind one adapter: both take load, one is killed under it, and takes load again when it is back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from launcher.triton_server import TritonServer
from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.answers import user
from tests.support.metrics import wait_for_metrics, wait_until_idle
from tests.support.own_adapter import ENDLESS, client_of, start_stream, status
from tests.support.own_models import repository_of

SLOTS = 2
IN_FLIGHT, READY = "tritongate_triton_requests_in_flight", "tritongate_triton_ready"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository_of(tmp_path_factory.mktemp("two"), settings={"slots": SLOTS})


@pytest.fixture(scope="module")
def tritons(repository: Path) -> Iterator[tuple[TritonServer, TritonServer]]:
    state = repository.parent
    with TritonServer([repository], state / "a") as first, TritonServer([repository], state / "b") as second:
        yield first, second


def label(server: TritonServer) -> str:
    return server.grpc_url.removeprefix("grpc://")


class WaitingRequest:
    """A short request in a thread of its own, streamed or not."""

    def __init__(self, client: openai.OpenAI, *, streamed: bool) -> None:
        self.text = ""
        self.error: Exception | None = None
        self._client, self._streamed = client, streamed
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        request = {"model": models.CHAT, "messages": user("Hi"), "max_tokens": 5, "temperature": 0}
        try:
            if self._streamed:
                for chunk in self._client.chat.completions.create(stream=True, **request):  # type: ignore[call-overload]
                    self.text += chunk.choices[0].delta.content or "" if chunk.choices else ""
            else:
                answer = self._client.chat.completions.create(**request)  # type: ignore[call-overload]
                self.text = answer.choices[0].message.content
        except Exception as error:
            self.error = error


def test_one_is_killed_under_load(
    tritons: tuple[TritonServer, TritonServer], start_adapter: Callable[..., AdapterProcess]
) -> None:
    first, second = tritons
    adapter = start_adapter(triton_url=f"{first.grpc_url},{second.grpc_url}")
    wait_for_metrics(
        adapter.url,
        lambda now: all(now.value(READY, endpoint=label(one)) == 1 for one in tritons),
        "they are not both ready",
    )
    with client_of(adapter) as client:
        with client_of(adapter) as of_streams:
            # Both take load: all slots are busy, half of them on each.
            streams = [start_stream(of_streams, **ENDLESS) for _ in range(2 * SLOTS)]
            waiting = [WaitingRequest(client, streamed=number % 2 == 0) for number in range(6)]
            wait_for_metrics(
                adapter.url,
                lambda now: all(now.value(IN_FLIGHT, endpoint=label(one)) == SLOTS + 3 for one in tritons),
                "the load is not spread evenly",
            )
            starts = first.starts
            os.kill(first.pid, signal.SIGKILL)

            # What had begun to stream there ends with an error event; the rest goes on.
            wait_for_metrics(
                adapter.url,
                lambda now: now.value(IN_FLIGHT, endpoint=label(second)) == SLOTS + 6,
                "what waited has not gone to the other one",
            )
            lost = [stream for stream in streams if stream.ended.wait(2)]
            assert len(lost) == SLOTS
            for stream in lost:
                assert isinstance(stream.error, openai.APIError)
                assert not isinstance(stream.error, openai.APIConnectionError), "the connection just broke"
                assert stream.error.code == "triton_unavailable"
                assert not any(chunk.choices[0].finish_reason for chunk in stream.answer.chunks)
            assert status(adapter, "/health/ready") == 200
            assert [model.id for model in client.models.list()] == [models.CHAT]
        # The slots of the other one are free now: everything that had not begun is answered.
        for request in waiting:
            request.thread.join(30)
            assert not request.thread.is_alive(), "a request hangs"
            assert request.error is None, request.error
        assert len({request.text for request in waiting}) == 1 and waiting[0].text

        # Back again, it takes load again.
        first.wait_restarted(starts, 60.0)
        now = wait_for_metrics(
            adapter.url, lambda now: now.value(READY, endpoint=label(first)) == 1, "it has not joined again"
        )
        assert now.value("tritongate_triton_retries_total") == 3
        assert now.value("tritongate_triton_failures_total", endpoint=label(first)) >= 1
        assert now.value("tritongate_triton_failures_total", endpoint=label(second)) == 0
        with client_of(adapter) as of_streams:
            again = [start_stream(of_streams, **ENDLESS) for _ in range(2 * SLOTS)]
            wait_for_metrics(
                adapter.url,
                lambda now: all(now.value(IN_FLIGHT, endpoint=label(one)) == SLOTS for one in tritons),
                "the one that is back gets no load",
            )
            assert all(stream.error is None for stream in again)
    wait_until_idle(adapter.url)
    assert "Traceback" not in adapter.output()


def test_one_is_stopped_and_another_begins_in_its_place(
    repository: Path,
    tritons: tuple[TritonServer, TritonServer],
    start_adapter: Callable[..., AdapterProcess],
    tmp_path: Path,
) -> None:
    """As in a rolling update: under load, one is asked to stop and another one begins in its place."""
    first, second = tritons
    adapter = start_adapter(triton_url=f"{first.grpc_url},{second.grpc_url}")
    stopping, answered, failed = threading.Event(), [0, 0, 0], list[Exception]()

    def load(client: openai.OpenAI, number: int) -> None:
        while not stopping.is_set():
            request = WaitingRequest(client, streamed=False)
            request.thread.join(60)
            if request.error is not None:
                failed.append(request.error)
            answered[number] += 1

    def await_more(count: int) -> None:
        enough = [done + count for done in answered]
        wait_for_metrics(
            adapter.url,
            lambda _: bool(failed) or all(done >= least for done, least in zip(answered, enough, strict=True)),
            "no answers",
            timeout=40,
        )

    with client_of(adapter) as client:
        threads = [threading.Thread(target=load, args=(client, number), daemon=True) for number in range(3)]
        for thread in threads:
            thread.start()
        await_more(2)
        first.stop()
        await_more(2)
        with TritonServer([repository], tmp_path / "again", grpc_port=first.ports["grpc"]):
            wait_for_metrics(
                adapter.url, lambda now: now.value(READY, endpoint=label(first)) == 1, "the new one has not joined"
            )
            wait_for_metrics(
                adapter.url, lambda now: now.value(IN_FLIGHT, endpoint=label(first)) > 0, "the new one gets no load"
            )
            stopping.set()
            for thread in threads:
                thread.join(60)
    assert not failed, failed
