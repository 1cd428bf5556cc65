"""The responses that this process is making: known by id, renewed in the store, and ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any

from adapter.encoding.wire_event import WireEvent
from adapter.errors import APIError, overloaded
from adapter.responses.archive import Archive
from adapter.responses.recording import Recording
from adapter.telemetry.logs import describe_exception
from adapter.triton.stream import StreamCancelled

logger = logging.getLogger("tritongate.responses")

_RENEW_EVERY = 1.0  # seconds; also how soon a cancellation that came to another process is seen
_SWEEP_EVERY = 300.0
_FLUSH_EVERY = 0.25
_POLL_EVERY = 0.25
_STOP_WITHIN = 5.0


class Runs:
    """Args:
    archive: the store's side.
    most_background: responses in the background at a time; one more is refused with 503.
    """

    def __init__(self, archive: Archive, most_background: int) -> None:
        self._archive = archive
        self._most_background = most_background
        self._live: dict[str, Recording] = {}
        self._background: set[asyncio.Future[None]] = set()
        self._loose: set[asyncio.Future[None]] = set()
        self._keeper: asyncio.Future[None] | None = None
        self._sweeper: asyncio.Future[None] | None = None
        self._held: dict[str, int] = {}  # being prepared: their conversations are locked
        self._reserved = 0  # places in the background of those that are being prepared
        self._stopping = False

    def start(self) -> None:
        self._keeper = asyncio.ensure_future(self._keep())

    def expect_stop(self) -> None:
        """The server is about to go down: requests may still end in time, and are cut off if they do not."""
        self._stopping = True
        for recording in self._live.values():
            recording.expect_stop()

    async def stop(self) -> None:
        """Ends what still runs; its records say that the server was stopped."""
        for recording in self._live.values():
            recording.cancel(stopping=True)
        tasks = [*self._background, *self._loose]
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_WITHIN)
        if self._loose:
            await asyncio.wait(list(self._loose), timeout=_STOP_WITHIN)
        helpers = [task for task in (self._keeper, self._sweeper) if task is not None]
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)

    def live(self, owner: str, response_id: str) -> Recording | None:
        recording = self._live.get(response_id)
        return recording if recording is not None and recording.ask.owner == owner else None

    def enter(self, recording: Recording) -> None:
        """It is about to run, here; it may be told twice."""
        response_id = recording.ask.response_id
        if response_id in self._live:
            return
        self._live[response_id] = recording
        if self._stopping:
            recording.expect_stop()
        self.spawn(self._leave(response_id, recording))

    async def _leave(self, response_id: str, recording: Recording) -> None:
        await recording.done.wait()
        self._live.pop(response_id, None)

    @contextlib.contextmanager
    def hold(self, response_id: str) -> Iterator[None]:
        """While it is prepared: the lock of its conversation is renewed."""
        self._held[response_id] = self._held.get(response_id, 0) + 1
        try:
            yield
        finally:
            self._held[response_id] -= 1
            if not self._held[response_id]:
                del self._held[response_id]

    @contextlib.contextmanager
    def room(self) -> Iterator[None]:
        """A place in the background, until the response runs there.

        Raises:
            APIError: 503, there are as many as there may be.
        """
        if len(self._background) + self._reserved >= self._most_background:
            raise overloaded(
                f"This server makes {self._most_background} responses in the background at a time. Try again soon."
            )
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1

    def run_in_background(self, recording: Recording) -> None:
        """Runs it, whether or not anybody follows."""
        self.enter(recording)
        task = asyncio.ensure_future(self._drive(recording))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs what nobody waits for; a stop of the server does."""
        task = asyncio.ensure_future(_logged(work))
        self._loose.add(task)
        task.add_done_callback(self._loose.discard)

    async def follow(self, owner: str, response_id: str, after: int) -> AsyncGenerator[list[WireEvent], None]:
        """The events of a kept response after the number `after`, those to come included, wherever it runs."""
        recording = self.live(owner, response_id)
        if recording is not None and recording.log:
            async with contextlib.aclosing(recording.follow(after)) as events:
                async for wires in events:
                    yield wires
            return
        ended = False
        while True:
            wires = await self._archive.events(owner, response_id, after)
            if wires:
                after = wires[-1].sequence_number
                yield wires
            elif ended:
                return
            else:
                record = await self._archive.get(owner, response_id)
                ended = record is None or not record.running
                if not ended:
                    await asyncio.sleep(_POLL_EVERY)

    async def _drive(self, recording: Recording) -> None:
        flusher = asyncio.ensure_future(self._flush(recording))
        try:
            async with contextlib.aclosing(recording.events()) as events:
                async for _ in events:
                    pass
        except StreamCancelled:
            pass
        except APIError as error:
            fields = {"response": recording.ask.response_id, "error": error.code or error.type}
            logger.warning("a background response has failed", extra={"fields": fields})
        except Exception as error:
            fields = {"response": recording.ask.response_id, **describe_exception(error)}
            logger.error("a background response has failed", extra={"fields": fields})
        finally:
            flusher.cancel()
            await asyncio.gather(flusher, return_exceptions=True)

    async def _flush(self, recording: Recording) -> None:
        while True:
            await asyncio.sleep(_FLUSH_EVERY)
            with contextlib.suppress(APIError):  # tried again with the next events
                await recording.flush()

    async def _keep(self) -> None:
        """Renews what runs here, passes on cancellations, and tidies up after processes that are gone."""
        loop = asyncio.get_running_loop()
        sweep_at = loop.time()
        while True:
            try:
                for response_id in await self._archive.renew(list({**self._live, **self._held})):
                    if response_id in self._live:
                        self._live[response_id].cancel()
                await self._archive.fail_abandoned()
                if (loop.time() >= sweep_at or self._archive.sweep_due) and (
                    self._sweeper is None or self._sweeper.done()
                ):
                    # Beside the renewals, which cannot wait for it.
                    sweep_at = loop.time() + _SWEEP_EVERY
                    self._sweeper = asyncio.ensure_future(_logged(self._archive.sweep(), "the store was not swept"))
            except APIError as error:
                logger.warning("the store cannot be reached", extra={"fields": {"error": error.message}})
            except Exception as error:
                logger.error("the store failed", extra={"fields": describe_exception(error)})
            await asyncio.sleep(_RENEW_EVERY)


async def _logged(work: Coroutine[Any, Any, None], failure: str = "a response could not be kept") -> None:
    try:
        await work
    except Exception as error:
        logger.error(failure, extra={"fields": describe_exception(error)})
