"""What answers with scores have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.types import Send

from adapter.generation.comparison import Scores
from adapter.request_context import RequestContext
from adapter.routes.watched import WatchedResponse, send_json
from adapter.schema.rerank import MODELS_OWN_LENGTH
from adapter.triton.model import ServedModel


class ScoredResponse(WatchedResponse):
    """Awaits the scores, then sends their body; a client that leaves ends the work.

    Args:
        work: makes the scores.
        body: the JSON object for them.
    """

    def __init__(
        self, work: Callable[[], Awaitable[Scores]], body: Callable[[Scores], dict[str, Any]], timeout: float
    ) -> None:
        super().__init__(timeout)
        self._make = work
        self._body = body
        self._work: asyncio.Future[Scores] | None = None

    def abandon(self) -> None:
        if self._work is not None:
            self._work.cancel()

    async def run(self, send: Send, context: RequestContext) -> None:
        self._work = asyncio.ensure_future(self._make())
        scores = await self._work
        context.fields["prompt_tokens"] = scores.prompt_tokens
        body = orjson.dumps(self._body(scores))
        await send_json(send, body)


def usage(scores: Scores) -> dict[str, int]:
    return {"prompt_tokens": scores.prompt_tokens, "total_tokens": scores.prompt_tokens}


def longest(model: ServedModel, truncate_prompt_tokens: int | None) -> int | None:
    """How many tokens a text keeps when the client wants it cut off."""
    return model.context_length if truncate_prompt_tokens == MODELS_OWN_LENGTH else truncate_prompt_tokens
