"""What the end of the model tells those who wait, and those who come after it."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.pretend_backend import pretend_backend


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    with pretend_backend(monkeypatch, "llama_cpp", ("reply", "open_requests")) as found:
        yield found


class Request:
    """Triton's, and its response sender."""

    def __init__(self, broken: bool = False) -> None:
        self.sent: list[tuple[Any, int]] = []
        self._broken = broken

    def send(self, response: Any = None, flags: int = 0) -> None:
        if self._broken:
            raise OSError("no shared memory")
        self.sent.append((response, flags))

    def get_response_sender(self) -> Request:
        return self

    def inputs(self) -> list[Any]:
        return [SimpleNamespace(name=lambda: "input_ids", as_numpy=lambda: np.array([[1]]))]

    def request_id(self) -> str:
        return ""

    def requested_output_names(self) -> list[str]:
        return []


def test_everyone_hears_of_the_models_end(modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also who comes while the LLM's processes are being ended, and though somebody cannot be told."""
    waiting, late = [Request(), Request(broken=True), Request()], Request()
    begun: list[Any] = []
    ended: list[Any] = []
    exits: list[int] = []
    requests = modules.open_requests.OpenRequests(
        frozenset(),
        read=lambda tensors: type("Generation", (), {"cancelled": False})(),  # can be in a set
        reserve=lambda generation: None,
        begin=begun.append,
        cancel=lambda generation: None,
        ended=ended.append,
        last_words=lambda: requests.accept(late),
    )
    monkeypatch.setattr(modules.open_requests.os, "_exit", exits.append)
    monkeypatch.setattr(modules.open_requests.threading, "Timer", lambda *_: SimpleNamespace(start=lambda: None))
    for request in waiting:
        requests.accept(request)
    requests.died("a worker was killed")
    for request in (waiting[0], waiting[2], late):
        assert [(response.error.message, flags) for response, flags in request.sent] == [
            ("the engine has died: a worker was killed", 1)
        ]
    assert (len(begun), len(ended), exits) == (3, 4, [1])
