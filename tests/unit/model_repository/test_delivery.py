"""The thread that sends the CPU engine's answers, over a pretend response sender."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.pretend_backend import pretend_backend


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    with pretend_backend(
        monkeypatch, "llama_cpp", ("reply", "answer_tensors", "delivery"), ("generation", "request")
    ) as found:
        yield found


@pytest.mark.parametrize("failures", [1, 9])
def test_an_answer_has_no_gap(modules: SimpleNamespace, failures: int) -> None:
    """A response that cannot be sent is the end of its answer, not of the others'."""
    sent: list[tuple[str, Any, int]] = []
    broken = [OSError("no shared memory")] * failures

    class Sender:
        def __init__(self, name: str) -> None:
            self.name = name

        def send(self, response: Any = None, flags: int = 0) -> None:
            if self.name == "lost" and broken:
                raise broken.pop()
            sent.append((self.name, response, flags))

        def is_cancelled(self) -> bool:
            return False

    limits = modules.request.Limits(context_length=99, vocab_size=100, end_ids=(2,))
    values = {"input_ids": [[5, 6]], "request_output_len": [4], "streaming": [True]}
    read = modules.request.read_request({name: np.array(value) for name, value in values.items()}, limits)
    closed: list[str] = []
    generations = {}
    delivery = modules.delivery.Delivery(closed.append)
    for name in ("lost", "well"):
        generations[name] = modules.generation.Generation(read, 100, [])
        reply = modules.reply.Reply(Sender(name), frozenset(), lambda name=name: closed.append(name))
        generations[name].reply = reply
        delivery.token(generations[name], modules.generation.Token(50))
    delivery.start()
    delivery._ready.put(None)
    delivery._thread.join()
    assert closed == ["lost"] and generations["lost"].cancelled and not generations["well"].cancelled
    rest = modules.delivery.Delivery(closed.append)
    rest.start()
    for generation in generations.values():
        rest.token(generation, modules.generation.Token(51))
        rest.finish(generation, "stop")
    rest.stop()
    assert closed == ["lost", "well"]
    lost = [(response.error.message, flags) for name, response, flags in sent if name == "lost"]
    assert lost == ([("a response could not be sent: OSError('no shared memory')", 1)] if failures == 1 else [])
    assert [flags for name, _, flags in sent if name == "well"][-1] == 1
