"""One response as it is made, and the record of it: what the client was told is what a later GET says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from adapter.encoding.response_writer import ResponseWriter
from adapter.encoding.wire_event import WireEvent
from adapter.errors import APIError, internal, stopping
from adapter.responses.archive import Archive
from adapter.responses.ask import Ask
from adapter.responses.turns import Turns
from adapter.telemetry.logs import describe_exception
from adapter.triton.stream import StreamCancelled

logger = logging.getLogger("tritongate.responses")

Spawn = Callable[[Coroutine[Any, Any, None]], None]


class Recording:
    """`events` runs the response, once.

    Args:
        archive: where it is kept, and its conversation too.
        stored: it is kept itself; else its conversation only.
        logged: its events are kept too, so that its stream can be taken up again.
        queued: `queue` is called before `events`.
        spawn: runs what has to be done although nobody waits for it any more.
        enter: is told when it begins to run.
    """

    def __init__(
        self,
        ask: Ask,
        turns: Turns,
        writer: ResponseWriter,
        archive: Archive,
        *,
        stored: bool,
        logged: bool,
        queued: bool,
        spawn: Spawn,
        enter: Callable[[Recording], None],
    ) -> None:
        self.ask = ask
        self.writer = writer
        self.log: list[WireEvent] = []  # the place of each is its sequence number
        self.done = asyncio.Event()  # the record is complete
        self.failure: APIError | None = None
        self._turns = turns
        self.stored = stored
        self._archive = archive
        self._logged = logged
        self._queued = queued
        self._spawn = spawn
        self._enter = enter
        self._kept = 0  # events of the log that are in the archive
        self._change = asyncio.Event()
        self._cut_off = False
        self._stopping = False  # what cut it off, or would now, is the server's stop
        self._writing = asyncio.Lock()  # flushes and the end come one after the other
        self._ending: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> bool:
        """Whether `events` goes on without having to wait."""
        return self._turns.waiting

    def cancel(self, *, stopping: bool = False) -> None:
        """Frees the engine's slot at once.

        Args:
            stopping: the server goes down: the response has failed rather than been cancelled.
        """
        if not self._cut_off:
            self._cut_off, self._stopping = True, stopping
        self._turns.cancel()

    def expect_stop(self) -> None:
        """The server is about to go down: if its task is cancelled from now on, that is why."""
        if not self._cut_off:
            self._stopping = True

    async def events(self) -> AsyncGenerator[list[WireEvent], None]:
        """Every event of the response, the last one when its record is complete.

        Raises:
            APIError: it failed before anything was told; nothing of it is kept.
            StreamCancelled: `cancel` was called.
        """
        self._enter(self)
        insert = None
        if self.stored and not self._queued:
            insert = asyncio.ensure_future(self._archive.insert(self.ask, self.writer.body, background=False))
        told = self._queued
        try:
            try:
                async with contextlib.aclosing(self._turns.events()) as events:
                    async for wires in events:
                        if insert is not None:  # it was written while the model read its prompt
                            await insert
                            insert = None
                        told = True
                        self._note(wires)
                        yield wires
                reason = self.writer.incomplete_reason
                last = self.writer.complete() if reason is None else self.writer.incomplete(reason)
            except StreamCancelled:
                raise
            except Exception as failure:
                if not told:
                    raise
                error = self.failure = _shown(failure, self.ask.response_id)
                last = self.writer.fail(error.code or error.type, error.message)
            self._ending = asyncio.ensure_future(self._keep(last))
            await asyncio.shield(self._ending)  # a client that leaves now changes nothing any more
            yield last
        except BaseException as error:
            if self._ending is not None:
                raise
            self._cut_off = True
            if not told:
                self._spawn(self._forget(insert))
            else:
                self._spawn(self._end(insert))
            if isinstance(error, StreamCancelled) and self._stopping:
                raise stopping() from error
            raise

    async def follow(self, after: int) -> AsyncGenerator[list[WireEvent], None]:
        """The events after the one with the sequence number `after`, those that are still to come included."""
        at = after + 1
        while True:
            if wires := self.log[at:]:
                at += len(wires)
                yield wires
            elif self.done.is_set():
                return
            else:
                self._change.clear()
                await self._change.wait()

    async def queue(self) -> dict[str, Any]:
        """Keeps it before it runs. Returns the response object as it is then.

        Raises:
            APIError: it cannot be kept.
        """
        try:
            self._note(self.writer.queued())
            await self._archive.insert(self.ask, self.writer.body, background=True)
            await self.flush()
        except BaseException:
            self._spawn(self._forget(None))
            raise
        return dict(self.writer.body)

    async def flush(self) -> None:
        """Keeps the events that have come since the last time."""
        async with self._writing:
            wires = self.log[self._kept :]
            if wires:
                await self._archive.append_events(self.ask.response_id, wires)
                self._kept += len(wires)

    def _note(self, wires: list[WireEvent]) -> None:
        if self._logged:
            self.log += wires
            self._change.set()

    async def _keep(self, last: list[WireEvent]) -> None:
        """The complete record, with its last events in the same transaction: who reads the end, finds the record."""
        try:
            async with self._writing:
                events = [*self.log[self._kept :], *last] if self._logged else []
                await self._archive.complete(self.ask, self.writer.body, events, stored=self.stored)
                if self._logged:
                    self.log += last
                self._kept = len(self.log)
        finally:
            self._release()

    async def _end(self, insert: asyncio.Future[None] | None) -> None:
        """Cancelled on the way: the record says so."""
        try:
            if insert is not None:
                await insert
            if self._stopping:
                code = stopping().code or ""
                last = self.writer.fail(code, "The server was stopped before the response was complete.")
            else:
                last = self.writer.cancel()
            await self._keep(last)
        finally:
            self._release()

    async def _forget(self, insert: asyncio.Future[None] | None) -> None:
        try:
            if insert is not None:
                await asyncio.gather(insert, return_exceptions=True)
            await self._archive.forget(self.ask)
        finally:
            self._release()

    def _release(self) -> None:
        """It is nobody's any more. A record that could not be kept is not renewed either: its lease ends."""
        self.done.set()
        self._change.set()


def _shown(error: Exception, response_id: str) -> APIError:
    """What the client is told of a failure that came after it had been told of the response."""
    if isinstance(error, APIError):
        return error
    logger.error("a response failed", extra={"fields": {"response": response_id, **describe_exception(error)}})
    return internal("The server had an error while processing your request.")
