"""The HTTP side of a generation: streamed, or in one piece."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.types import Send

from adapter.encoding.event_stream import CONTENT_TYPE, error_event
from adapter.errors import APIError, stopping
from adapter.generation.choices import Choices
from adapter.generation.events import Event
from adapter.request_context import RequestContext
from adapter.routes.watched import WatchedResponse, send_json
from adapter.triton.stream import StreamCancelled

STREAM_HEADERS = [
    (b"content-type", CONTENT_TYPE),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # proxies such as nginx would collect the events otherwise
]


class StreamEncoder(Protocol):
    """Events to server-sent events; `index` is the choice's."""

    def start(self, prompt_tokens: int) -> bytes: ...
    def encode(self, index: int, item: Event) -> bytes: ...
    def end(self) -> bytes: ...


class Fold(Protocol):
    """Collects events into one JSON object."""

    def add(self, index: int, item: Event) -> None: ...
    def body(self, prompt_tokens: int) -> bytes: ...


class _GenerationResponse(WatchedResponse):
    """Args:
    keep: called when the answer is complete, before the client hears so.
    """

    def __init__(self, choices: Choices, timeout: float, keep: Callable[[], Awaitable[None]] | None = None) -> None:
        super().__init__(timeout)
        self._choices = choices
        self._keep = keep

    def abandon(self) -> None:
        self._choices.cancel()

    def _note(self, context: RequestContext) -> None:
        context.fields["prompt_tokens"] = self._choices.prompt_tokens
        context.fields["completion_tokens"] = self._choices.completion_tokens


class StreamedGeneration(_GenerationResponse):
    """Sends events as they come. Until the first one a failure is an ordinary error answer with its status."""

    def __init__(
        self,
        choices: Choices,
        encoder: StreamEncoder,
        timeout: float,
        keep: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(choices, timeout, keep)
        self._encoder = encoder

    async def run(self, send: Send, context: RequestContext) -> None:
        encode = self._encoder.encode
        choices = self._choices
        events = choices.events()
        try:
            async with contextlib.aclosing(events):
                index, first = await anext(events)
                await send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS]})
                # What has arrived together is written together: one system call, as many events as before.
                chunks = [self._encoder.start(choices.prompt_tokens), encode(index, first)]
                try:
                    if not choices.waiting:
                        await send({"type": "http.response.body", "body": b"".join(chunks), "more_body": True})
                        chunks.clear()
                    async for index, item in events:
                        chunks.append(encode(index, item))
                        if not choices.waiting:
                            await send({"type": "http.response.body", "body": b"".join(chunks), "more_body": True})
                            chunks.clear()
                    if self._keep is not None:
                        await self._keep()
                    chunks.append(self._encoder.end())
                except APIError as error:
                    chunks.append(self._failed(error, context))
                except asyncio.CancelledError:
                    if context.abandoned or context.expired:
                        raise  # nobody is there, or it does not read
                    chunks.append(self._failed(stopping(), context))
                await send({"type": "http.response.body", "body": b"".join(chunks)})
        except StreamCancelled:
            pass  # nobody is left to tell
        finally:
            self._note(context)

    def _failed(self, error: APIError, context: RequestContext) -> bytes:
        context.error_code = error.code or error.type
        return error_event(error)


class FoldedGeneration(_GenerationResponse):
    """Sends one JSON object, made of the events that would have been streamed."""

    def __init__(
        self, choices: Choices, fold: Fold, timeout: float, keep: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        super().__init__(choices, timeout, keep)
        self._fold = fold

    async def run(self, send: Send, context: RequestContext) -> None:
        try:
            async with contextlib.aclosing(self._choices.events()) as events:
                async for index, item in events:
                    self._fold.add(index, item)
            if self._keep is not None:
                await self._keep()
            body = self._fold.body(self._choices.prompt_tokens)
            await send_json(send, body)
        except StreamCancelled:
            pass
        finally:
            self._note(context)
