"""Turns of the model, with the calls of server-side tools between them, until the answer is complete."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from adapter.encoding.response_writer import PendingCall, ResponseWriter
from adapter.encoding.wire_event import WireEvent
from adapter.errors import APIError, invalid_request, timed_out
from adapter.generation.generation import Generation
from adapter.generation.tool_use import ToolUse
from adapter.responses.ask import Ask
from adapter.responses.tool_rounds import ToolRounds
from adapter.responses.turn import Backend, Turn
from adapter.schema.tool_choice import choose_tools
from adapter.triton.stream import StreamCancelled

Item = dict[str, Any]

_MOST_TURNS = 64


class Turns:
    """One response as it is made. `events` runs it, once.

    Args:
        timeout: seconds for all of it.
        generate: False: nothing is asked of the model.
    """

    def __init__(
        self,
        backend: Backend,
        ask: Ask,
        writer: ResponseWriter,
        *,
        streaming: bool,
        timeout: float,
        generate: bool = True,
    ) -> None:
        self._backend = backend
        self._ask = ask
        self._writer = writer
        self._streaming = streaming
        self._generate = generate
        self._ends = time.monotonic() + timeout
        self._rounds = ToolRounds(ask.toolboxes, writer, ask.request.max_tool_calls, backend.tool_timeout)
        self._generation: Generation | None = None
        self._cancelled = False
        self._started = False
        self._told: list[Item] = []  # what has come in this response, as the model is to read it

    @property
    def waiting(self) -> bool:
        """Whether `events` goes on without having to wait."""
        return self._generation is not None and self._generation.waiting

    def cancel(self) -> None:
        """Frees the engine's slot at once; `events` then raises StreamCancelled."""
        self._cancelled = True
        self._rounds.cancel()
        if self._generation is not None:
            self._generation.cancel()

    async def prepare(self) -> None:
        """Makes the first turn ready where nothing has to be asked of a tool's server before, so that a request that
        cannot be served is refused before anything is told.

        Raises:
            APIError: 400, naming the field.
        """
        if not self._ask.toolboxes:
            for item in self._ask.approved:
                self._rounds.pending(item)  # raises: there is no such tool
        if self._generate and not self._ask.toolboxes:
            self._generation = await self._turn(0)

    async def prompt_tokens(self) -> int:
        """Tokens of the first turn's prompt; `events` is not called then.

        Raises:
            APIError: as of `events`.
        """
        try:
            if self._ask.toolboxes:
                async for _ in self._rounds.open(self._items()):
                    pass
            return await Turn(self._backend, self._ask, self._items(), self._tools(first=True)).prompt_tokens()
        finally:
            await self._rounds.aclose()

    async def events(self) -> AsyncGenerator[list[WireEvent], None]:
        """Wire events, in the lists in which they come about, up to the last but one: how it ended is the caller's.

        Raises:
            APIError: Triton, a tool's server or the request failed.
            StreamCancelled: `cancel` was called.
        """
        try:
            async with contextlib.aclosing(self._run()) as events:
                async for wires in events:
                    yield wires
                    if self._cancelled:
                        raise StreamCancelled
        finally:
            if self._generation is not None:
                self._generation.cancel()
            await self._rounds.aclose()

    async def _run(self) -> AsyncGenerator[list[WireEvent], None]:
        if not self._generate:
            yield self._start()
            return
        if self._ask.toolboxes:
            yield self._start()
            async for wires in self._rounds.open(self._items()):
                yield wires
            self._writer.calls = self._rounds.forms()
            self._writer.citations = self._rounds.citations
            async for wires in self._run_approved():
                yield wires
        for number in range(_MOST_TURNS):
            seen = len(self._writer.body["output"])
            if number or self._generation is None:
                self._generation = await self._turn(number)
            async for wires in self._events_of(self._generation):
                yield wires
            calls = self._writer.end_turn()
            if self._writer.incomplete_reason is not None:
                return
            mine = [call for call in calls if self._rounds.runs(call)]
            if not mine:
                return
            told: list[Item] = []
            async for wires in self._rounds.run(mine, told):
                yield wires
            # What the client has to do, or to allow, ends the response; the outcomes above stay part of it.
            if len(mine) < len(calls):
                return
            by_id = {item["id"]: item for item in told}
            self._told += [by_id.get(item["id"], item) for item in self._writer.body["output"][seen:]]
        message = f"The model has called tools {_MOST_TURNS} times without an answer."
        raise APIError(500, message, type="server_error", code="model_error")

    async def _events_of(self, generation: Generation) -> AsyncGenerator[list[WireEvent], None]:
        encode = self._writer.encode
        async with contextlib.aclosing(generation.events()) as events:
            first = await anext(events)
            start = self._start()
            self._writer.begin_turn(generation.prompt_tokens)
            yield [*start, *encode(first)]
            async for event in events:
                if wires := encode(event):
                    yield wires

    def _start(self) -> list[WireEvent]:
        if self._started:
            return []
        self._started = True
        return self._writer.started()

    async def _run_approved(self) -> AsyncGenerator[list[WireEvent], None]:
        """Calls that the client has approved in this request come before the model's turn."""
        calls: list[PendingCall] = []
        for item in self._ask.approved:
            wires = self._writer.add_item(item)
            yield [*wires, self._writer.item_event(item["id"], "response.mcp_call.in_progress")]
            calls.append(self._rounds.pending(item))
        if not calls:
            return
        async for wires in self._rounds.run(calls, self._told):
            yield wires

    async def _turn(self, number: int) -> Generation:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise timed_out()
        if self._cancelled:
            raise StreamCancelled
        tools = self._tools(first=number == 0)
        turn = Turn(self._backend, self._ask, self._items(), tools)
        generation = await turn.generation(number, streaming=self._streaming, timeout=left)
        if self._cancelled:  # while it was planned
            raise StreamCancelled
        return generation

    def _items(self) -> list[Item]:
        """What the model is to read now."""
        return [*self._ask.context, *self._ask.read, *self._told]

    def _tools(self, *, first: bool) -> ToolUse | None:
        """What the model may call in a turn: of this server's tools none, when it has called as many as it may."""
        ask = self._ask
        named, custom = ask.tools.named, ask.tools.custom
        selection = ask.request.selection if first else ask.request.selection.met()
        hosted = {}
        if self._rounds.exhausted:
            # Only the client's tools are left; of those that were selected, only they can still be found.
            kept = tuple(one for one in selection.only or () if one.kind in ("function", "custom"))
            selection = replace(selection, only=kept if selection.only is not None else None)
            named = named if kept or selection.only is None else {}
            return choose_tools(named, custom, selection, ask.request.parallel_tool_calls, "tool_choice")
        for offer in self._rounds.offers:
            if offer.tool.name in named:
                message = f"Two tools are named '{offer.tool.name}': the model could not tell them apart."
                raise invalid_request(message, offer.place, "invalid_value")
            named[offer.tool.name] = (offer.tool, offer.place)
            hosted[offer.tool.name] = offer.hosted
        return choose_tools(named, custom, selection, ask.request.parallel_tool_calls, "tool_choice", hosted=hosted)
