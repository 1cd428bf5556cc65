"""The thread that encodes media, over a projector that computes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.model_modules import model_module

engine = model_module("llama_cpp", "engine")
generation = model_module("llama_cpp", "generation")
media_cache = model_module("llama_cpp", "media_cache")
media_reader = model_module("llama_cpp", "media_reader")
multimodal = model_module("llama_cpp", "multimodal")
request = model_module("llama_cpp", "request")
sampling = model_module("llama_cpp", "sampling")


class FakeProjector:
    """A file becomes as many embeddings as it has bytes; `bad` cannot be read, `boom` ends in an error."""

    non_causal = False
    modalities = frozenset({"image"})

    def __init__(self) -> None:
        self.encoded: list[bytes] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def parts(self, data: bytes, *, encode: bool = True) -> list[Any]:
        if data == b"bad":
            raise multimodal.MediaError("not readable")
        if encode:
            self.entered.set()
            assert self.go_on.wait(20)
            if data == b"boom":
                raise RuntimeError("boom")
            self.encoded.append(data)
        count = len(data)
        values = np.zeros((count, 4), np.float32) if encode else None
        return [multimodal.EmbeddingPart(count, np.arange(count)[np.newaxis], count, self.non_causal, values)]


class Outcome:
    def __init__(self) -> None:
        self.ready: list[Any] = []
        self.refused: dict[Any, tuple[str, bool]] = {}
        self.changed = threading.Condition()

    def is_ready(self, made: Any) -> None:
        with self.changed:
            self.ready.append(made)
            self.changed.notify_all()

    def refuse(self, made: Any, message: str, internal: bool) -> None:
        with self.changed:
            self.refused[made] = message, internal
            self.changed.notify_all()

    def wait(self, *items: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: all(i in self.ready or i in self.refused for i in items), 20)


@pytest.fixture
def projector() -> FakeProjector:
    return FakeProjector()


@pytest.fixture
def outcome() -> Outcome:
    return Outcome()


@pytest.fixture
def reader(projector: FakeProjector, outcome: Outcome) -> Iterator[Any]:
    sizes = {"at_once": 2, "context_length": 20, "piece": 4, "batch": 8}
    made = media_reader.MediaReader(
        projector, **sizes, ready=outcome.is_ready, refuse=outcome.refuse, died=lambda what: None
    )
    made.start()
    yield made
    projector.go_on.set()
    made.stop()


def submit(reader: Any, *media: bytes, length: int = 50, scope: bytes = b"", cancelled: bool = False) -> Any:
    parameters = sampling.SamplingParameters(temperature=0.0)
    places = tuple([1] * len(media))
    asked = request.Request(np.array([1, 2], np.int32), length, parameters, places, cache_scope=scope)
    made = generation.Generation(asked, 32)
    made.cancelled = cancelled
    reader.add(made, list(media))
    return made


def test_a_prompt_is_made_of_text_and_media(reader: Any, outcome: Outcome) -> None:
    made = submit(reader, b"12345", b"123")
    outcome.wait(made)
    assert [piece.count for piece in made.media_pieces] == [1, 4, 1, 3, 1]
    assert made.prompt_length == 10
    assert made.request.output_length == 10


def test_no_more_are_encoded_than_can_be_computed(reader: Any, projector: FakeProjector, outcome: Outcome) -> None:
    first, second, third = (submit(reader, data) for data in (b"1", b"2", b"3"))
    outcome.wait(first, second)
    with outcome.changed:
        assert not outcome.changed.wait_for(lambda: third in outcome.ready, 0.2)
    reader.ended(first)
    outcome.wait(third)
    assert projector.encoded == [b"1", b"2", b"3"]


def test_a_prompt_that_does_not_fit_is_refused_before_the_work(
    reader: Any, projector: FakeProjector, outcome: Outcome
) -> None:
    made, fits = submit(reader, b"1" * 10, b"2" * 8), submit(reader, b"1" * 10, b"2" * 7)
    outcome.wait(made, fits)
    message, internal = outcome.refused[made]
    assert message.startswith("input_ids: the prompt has 20 tokens, 18 of them media") and not internal
    assert projector.encoded == [b"1" * 10, b"2" * 7]
    assert fits.request.output_length == 1


def test_an_image_in_one_go_has_to_fit_in_a_batch(reader: Any, projector: FakeProjector, outcome: Outcome) -> None:
    projector.non_causal = True
    made, fits = submit(reader, b"1" * 9), submit(reader, b"1" * 8)
    outcome.wait(made, fits)
    assert outcome.refused[made] == ("media: an image of 9 tokens; at most 8 are computed at once", False)
    assert [piece.count for piece in fits.media_pieces] == [1, 8, 1]


def test_what_fails_costs_its_own_request(reader: Any, outcome: Outcome) -> None:
    bad, boom = submit(reader, b"1", b"bad"), submit(reader, b"boom")
    outcome.wait(bad, boom)
    assert outcome.refused[bad] == ("media: file 2 of 2: not readable", False)
    message, internal = outcome.refused[boom]
    assert "boom" in message and internal
    for made in (bad, boom):
        reader.ended(made)
    good = submit(reader, b"1")
    outcome.wait(good)
    assert good in outcome.ready


def test_cancelled_ones_go_on_at_once(reader: Any, projector: FakeProjector, outcome: Outcome) -> None:
    projector.go_on.clear()
    encoding = submit(reader, b"1", b"2")
    waiting = submit(reader, b"3")
    assert projector.entered.wait(20)
    for made in (waiting, encoding):
        made.cancelled = True
        reader.cancel(made)
    assert outcome.ready == [waiting]
    projector.go_on.set()
    outcome.wait(encoding)
    assert projector.encoded == [b"1"]
    assert outcome.ready == [waiting, encoding]


def test_cancelled_before_it_came(reader: Any, projector: FakeProjector, outcome: Outcome) -> None:
    """It does not wait, with its place in the queue, for requests that are long in being answered."""
    for data in (b"1", b"2"):
        outcome.wait(submit(reader, data))  # and they hold their places
    gone = submit(reader, b"3", cancelled=True)
    assert gone in outcome.ready
    assert projector.encoded == [b"1", b"2"]


def test_a_file_is_encoded_once_in_each_scope(reader: Any, projector: FakeProjector, outcome: Outcome) -> None:
    def run(*media: bytes, scope: bytes = b"") -> Any:
        made = submit(reader, *media, scope=scope)
        outcome.wait(made)
        reader.ended(made)
        return made

    run(b"12", b"123", b"12")
    again = run(b"12", b"1")
    assert projector.encoded == [b"12", b"123", b"1"]
    assert [piece.count for piece in again.media_pieces] == [1, 2, 1, 1]
    run(b"12", scope=b"other")
    assert projector.encoded[3:] == [b"12"]


def test_the_cache_is_bounded() -> None:
    def parts(bytes_: int) -> list[Any]:
        values = np.zeros((1, bytes_ // 4), np.float32)
        return [multimodal.EmbeddingPart(1, np.zeros((1, 1), np.int32), 1, False, values)]

    cache = media_cache.MediaCache(most_bytes=100)
    keys = [(b"", bytes([number])) for number in range(4)]
    cache.put(keys[0], parts(40))
    cache.put(keys[1], parts(40))
    assert cache.get(keys[0]) is not None  # now the other one is older
    cache.put(keys[2], parts(40))
    assert [cache.get(key) is not None for key in keys] == [True, False, True, False]
    cache.put(keys[3], parts(104))  # larger than all
    assert [cache.get(key) for key in keys] == [None] * 4
    cache.put(keys[3], parts(100))
    assert cache.get(keys[3]) is not None


def test_files_that_wait_are_bounded(
    reader: Any, projector: FakeProjector, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_reader, "MAX_WAITING_BYTES", 5)
    projector.go_on.clear()
    encoding = submit(reader, b"123456")
    assert projector.entered.wait(20)
    alone = submit(reader, b"123456")  # larger than the bound, but nothing else waits
    with pytest.raises(request.QueueFull, match="media of 6 bytes wait"):
        submit(reader, b"1")
    alone.cancelled = True
    reader.cancel(alone)
    more = submit(reader, b"1")
    projector.go_on.set()
    outcome.wait(encoding, more)


def test_stop_passes_on_who_waits(reader: Any, projector: FakeProjector, outcome: Outcome) -> None:
    items = [submit(reader, b"1") for _ in range(4)]
    outcome.wait(*items[:2])
    reader.stop()
    assert outcome.ready == items
    assert [made.cancelled for made in items] == [False, False, True, True]
