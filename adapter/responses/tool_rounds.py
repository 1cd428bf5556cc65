"""The server-side tools of one response: opened once, called between turns, within their number and time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from adapter.encoding.response_writer import CallForm, PendingCall, ResponseWriter
from adapter.encoding.wire_event import WireEvent
from adapter.errors import APIError, invalid_request
from adapter.tools.toolbox import CallOutcome, Offer, Toolbox, ToolboxUnavailable
from adapter.triton.stream import StreamCancelled

Item = dict[str, Any]
T = TypeVar("T")

logger = logging.getLogger("tritongate.tools")

_MOST_CALLS = 64  # of one response, unless it sets `max_tool_calls`
_MOST_AT_ONCE = 8  # calls that run side by side
_NO_ANSWER = -32000  # JSON-RPC's code for a server's own errors
_BEFORE = {"file_search": "response.file_search_call.searching", "web_search": "response.web_search_call.searching"}
_AFTER = {
    "mcp": "response.mcp_call.completed",
    "file_search": "response.file_search_call.completed",
    "web_search": "response.web_search_call.completed",
}


class ToolRounds:
    """Args:
    most_calls: of the whole response; None: this server's own limit.
    timeout: seconds for one call.
    """

    def __init__(
        self, toolboxes: Sequence[Toolbox], writer: ResponseWriter, most_calls: int | None, timeout: float
    ) -> None:
        self._toolboxes = toolboxes
        self._writer = writer
        self._timeout = timeout
        self._boxes: dict[str, Toolbox] = {}
        self._left = min(_MOST_CALLS, most_calls) if most_calls is not None else _MOST_CALLS
        self._tasks: set[asyncio.Future[Any]] = set()
        self._cancelled = False
        self.offers: list[Offer] = []

    def cancel(self) -> None:
        """Ends what runs; `open` and `run` then raise StreamCancelled."""
        self._cancelled = True
        for task in self._tasks:
            task.cancel()

    @property
    def exhausted(self) -> bool:
        """No further call is run: the model is not to be offered any."""
        return self._left <= 0

    async def open(self, known: Sequence[Item]) -> AsyncGenerator[list[WireEvent], None]:
        """Asks every source what it offers, and tells the client.

        Raises:
            APIError: a source cannot be used.
        """
        writer = self._writer
        for toolbox in self._toolboxes:
            announcement = toolbox.announcement(known)
            if announcement is not None:
                wires = writer.add_item(announcement)
                yield [*wires, writer.item_event(announcement["id"], "response.mcp_list_tools.in_progress")]
            try:
                complete = await self._end_of(self._begin(asyncio.wait_for(toolbox.open(announcement), self._timeout)))
            except (ToolboxUnavailable, asyncio.TimeoutError) as error:
                message = str(error) or "it did not answer in time"
                if announcement is not None:
                    failed = writer.item_event(announcement["id"], "response.mcp_list_tools.failed")
                    yield [failed, *writer.finish_item({**announcement, "error": message})]
                raise APIError(424, message, param="tools", code="tool_unavailable") from error
            if announcement is not None and complete is not None:
                done = writer.item_event(announcement["id"], "response.mcp_list_tools.completed")
                yield [done, *writer.finish_item(complete)]
            for offer in toolbox.offers():
                if offer.tool.name in self._boxes:
                    message = f"Two tools are named '{offer.tool.name}': the model could not tell them apart."
                    raise invalid_request(message, offer.place, "invalid_value")
                self._boxes[offer.tool.name] = toolbox
                self.offers.append(offer)

    def forms(self) -> Mapping[str, CallForm]:
        """By the name that the model calls: what a call is shown as."""
        return {offer.tool.name: offer.form for offer in self.offers}

    def pending(self, item: Item) -> PendingCall:
        """An MCP call that the client has approved, as one that is to be run.

        Raises:
            APIError: 400, the request's tools do not have it.
        """
        for offer in self.offers:
            hosted = offer.hosted
            if (hosted.kind, hosted.server_label, hosted.name) == ("mcp", item["server_label"], item["name"]):
                return PendingCall(item, "mcp", offer.tool.name, item["arguments"])
        message = f"There is no tool '{item['name']}' of the MCP server '{item['server_label']}' in 'tools'."
        raise invalid_request(message, "tools", "invalid_value")

    def runs(self, call: PendingCall) -> bool:
        """Whether the call is this server's to run."""
        return call.kind in _AFTER

    async def run(self, calls: Sequence[PendingCall], told: list[Item]) -> AsyncGenerator[list[WireEvent], None]:
        """Runs the calls of one turn side by side; each one's end is told when it is there.

        Args:
            told: gets the finished items as the model is to read them, in the order of the calls.
        """
        writer = self._writer
        before = [writer.item_event(call.item["id"], _BEFORE[call.kind]) for call in calls if call.kind in _BEFORE]
        if before:
            yield before
        room = asyncio.Semaphore(_MOST_AT_ONCE)
        tasks = [self._begin(self._outcome(call, room)) for call in calls]
        try:
            for call, task in zip(calls, tasks, strict=True):
                outcome = await self._end_of(task)
                told.append(outcome.told)
                type_ = _AFTER[call.kind]
                if outcome.failed and call.kind == "mcp":
                    type_ = "response.mcp_call.failed"
                yield [writer.item_event(call.item["id"], type_), *writer.finish_item(outcome.item)]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _outcome(self, call: PendingCall, room: asyncio.Semaphore) -> CallOutcome:
        if self._left <= 0:
            return _failed(call, "The response has made as many tool calls as it may.")
        self._left -= 1
        async with room:
            try:
                return await asyncio.wait_for(self._boxes[call.name].call(call), self._timeout)
            except asyncio.TimeoutError:
                return _failed(call, f"The tool did not answer within {self._timeout:g} seconds.")
            except ToolboxUnavailable as error:
                return _failed(call, str(error))

    def citations(self, text: str) -> list[Item]:
        """What a text of the model refers to, as annotations."""
        return [citation for toolbox in self._toolboxes for citation in toolbox.citations(text)]

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _end_of(self, task: asyncio.Future[T]) -> T:
        try:
            if self._cancelled:
                raise StreamCancelled
            return await task
        except asyncio.CancelledError:
            if self._cancelled:
                raise StreamCancelled from None
            raise
        finally:
            task.cancel()

    async def aclose(self) -> None:
        for toolbox in self._toolboxes:
            with contextlib.suppress(ToolboxUnavailable):
                await toolbox.aclose()


def _failed(call: PendingCall, message: str) -> CallOutcome:
    item = {**call.item, "status": "failed"}
    if call.kind == "mcp":
        item["error"] = {"type": "mcp_protocol_error", "code": _NO_ANSWER, "message": message}
    told = {**item, "error": message}
    return CallOutcome(item, told, failed=True)
