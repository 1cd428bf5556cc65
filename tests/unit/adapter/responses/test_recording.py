"""A response and its record, when the store or the model fails on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from adapter.encoding.wire_event import WireEvent
from adapter.errors import APIError, internal, unavailable
from adapter.responses.recording import Recording
from adapter.responses.runs import Runs


class Archive:
    """Stands for the store: `failing` names what does not work. `calls` is what was asked of it."""

    sweep_due = False

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.calls: list[str] = []
        self.renewed: list[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        async def call(*_: Any, **__: Any) -> None:
            self.calls.append(name)
            if name in self.failing:
                raise unavailable("The store is away.")

        return call

    async def renew(self, ids: list[str]) -> set[str]:
        self.renewed.append(ids)
        return set()


class Turns:
    """A model that says two things, or fails before it says anything."""

    waiting = False

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def events(self) -> AsyncGenerator[list[WireEvent], None]:
        if self._error is not None:
            raise self._error
        for number in range(2):
            yield [WireEvent("x", number, b"{}")]
            await asyncio.sleep(0)

    def cancel(self) -> None: ...


class Writer:
    incomplete_reason = None

    def __init__(self) -> None:
        self.body = {"status": "in_progress", "output": []}

    def _end(self, status: str) -> list[WireEvent]:
        self.body["status"] = status
        return [WireEvent("end", 2, b"{}")]

    def complete(self) -> list[WireEvent]:
        return self._end("completed")

    def fail(self, code: str, message: str) -> list[WireEvent]:
        return self._end("failed")

    def cancel(self) -> list[WireEvent]:
        return self._end("cancelled")


def made(archive: Archive, runs: Runs, turns: Turns) -> Recording:
    ask = SimpleNamespace(owner="", response_id="resp_1", conversation_id=None)
    return Recording(
        ask,  # type: ignore[arg-type]
        turns,  # type: ignore[arg-type]
        Writer(),  # type: ignore[arg-type]
        archive,  # type: ignore[arg-type]
        stored=True,
        logged=True,
        queued=False,
        spawn=runs.spawn,
        enter=runs.enter,
    )


async def played(recording: Recording) -> list[WireEvent]:
    async with contextlib.aclosing(recording.events()) as events:
        return [wire async for wires in events for wire in wires]


async def settled(work: Coroutine[Any, Any, Any]) -> Any:
    result = await asyncio.gather(work, return_exceptions=True)
    for _ in range(20):
        await asyncio.sleep(0)
    return result[0]


async def test_the_record_is_complete_before_the_end_is_told() -> None:
    archive = Archive()
    runs = Runs(archive, 1)  # type: ignore[arg-type]
    recording = made(archive, runs, Turns())
    async with contextlib.aclosing(recording.events()) as events:
        async for wires in events:
            if wires[-1].type == "end":
                assert archive.calls[-1] == "complete" and recording.done.is_set()
    assert [wire.sequence_number for wire in recording.log] == [0, 1, 2]


@pytest.mark.parametrize("failing", [("insert",), ("insert", "forget"), ("complete",)])
async def test_a_store_that_fails_leaves_nothing_running(failing: tuple[str, ...]) -> None:
    """What stays live is renewed for ever, and its conversation stays locked."""
    archive = Archive(*failing)
    runs = Runs(archive, 1)  # type: ignore[arg-type]
    recording = made(archive, runs, Turns())
    error = await settled(played(recording))
    assert isinstance(error, APIError) and error.status == 503
    assert recording.done.is_set() and runs.live("", "resp_1") is None


async def test_a_failure_before_anything_was_told_leaves_no_record() -> None:
    archive = Archive()
    runs = Runs(archive, 1)  # type: ignore[arg-type]
    error = await settled(played(made(archive, runs, Turns(internal("no")))))
    assert isinstance(error, APIError) and "forget" in archive.calls and "complete" not in archive.calls
    assert runs.live("", "resp_1") is None


async def test_a_client_that_leaves_is_recorded() -> None:
    archive = Archive()
    runs = Runs(archive, 1)  # type: ignore[arg-type]
    recording = made(archive, runs, Turns())
    events = recording.events()
    await anext(events)
    await settled(events.aclose())
    assert recording.writer.body["status"] == "cancelled" and archive.calls[-1] == "complete"


@pytest.mark.parametrize("leaves", [False, True])
async def test_what_the_stop_of_the_server_cuts_off_has_failed(leaves: bool) -> None:
    """Unless the client left before: one that runs already, and one that begins between the signal and the cut."""
    for early in (True, False):
        archive = Archive()
        runs = Runs(archive, 1)  # type: ignore[arg-type]
        recording = made(archive, runs, Turns())
        events = recording.events()
        if early:
            await anext(events)
        runs.expect_stop()
        if not early:
            await anext(events)
        if leaves:
            recording.cancel()
        await settled(events.aclose())  # as uvicorn does it, before the application is told to end
        await runs.stop()
        assert recording.writer.body["status"] == ("cancelled" if leaves else "failed")


async def test_places_in_the_background_are_taken_from_the_beginning() -> None:
    runs = Runs(Archive(), 1)  # type: ignore[arg-type]
    with runs.room(), pytest.raises(APIError) as caught, runs.room():
        pass
    assert caught.value.status == 503
    with runs.room():
        pass


async def test_what_is_being_prepared_is_renewed() -> None:
    archive = Archive()
    runs = Runs(archive, 1)  # type: ignore[arg-type]
    with runs.hold("resp_2"):
        runs.start()
        await asyncio.sleep(0.01)
    await runs.stop()
    assert archive.renewed[0] == ["resp_2"]
