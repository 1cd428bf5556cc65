"""How often Triton is asked who has gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.model_modules import model_module

cancellation = model_module("llama_cpp", "cancellation")

BOUND = 0.05  # seconds from a cancellation until the engine hears of it


class Rounds(threading.Condition):
    """In place of the watch's condition: notes how long it would pause, and pauses for no time at all."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.pauses: list[float | None] = []
        self.enough = threading.Event()
        self._most = most

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        self.pauses.append(timeout)
        if len(self.pauses) >= self._most:
            self.enough.set()
            return super().wait_for(predicate)
        return predicate()


class Client:
    def __init__(self) -> None:
        self.gone = False
        self.askers: list[int] = []

    def cancelled(self) -> bool:
        self.askers.append(threading.get_ident())
        return self.gone


class Generation:
    def __init__(self, client: Client) -> None:
        self.reply = client
        self.cancelled = False


@pytest.fixture
def started() -> Iterator[list[Any]]:
    watches: list[Any] = []
    yield watches
    for watch in watches:
        watch.stop()


def test_all_are_asked_in_every_round_and_rounds_are_close(started: list[Any]) -> None:
    cancelled: list[Any] = []
    clients = [Client() for _ in range(32)]
    generations = [Generation(client) for client in clients]
    watch = cancellation.CancellationWatch(cancelled.append, lambda why: None)
    rounds = watch._changed = Rounds(5)
    clients[7].gone = True
    for generation in generations:
        watch._open.add(generation)
    watch.start()
    started.append(watch)
    assert rounds.enough.wait(10)
    assert {len(client.askers) for client in clients} == {5}
    assert len({asker for client in clients for asker in client.askers}) == 1  # a thread for all
    assert all(pause is not None and 2 * pause <= BOUND for pause in rounds.pauses)
    assert cancelled == [generations[7]] * 5  # until it says itself that it is cancelled


def test_who_is_cancelled_or_has_ended_is_not_asked_again(started: list[Any]) -> None:
    def cancel(generation: Any) -> None:
        generation.cancelled = True

    clients = [Client() for _ in range(3)]
    generations = [Generation(client) for client in clients]
    watch = cancellation.CancellationWatch(cancel, lambda why: None)
    rounds = watch._changed = Rounds(4)
    clients[0].gone = True
    for generation in generations:
        watch.add(generation)
    watch.remove(generations[1])
    watch.start()
    started.append(watch)
    assert rounds.enough.wait(10)
    assert [len(client.askers) for client in clients] == [1, 0, 4]
    assert set(watch.open()) == {generations[0], generations[2]}
