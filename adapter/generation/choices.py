"""The answers of one request: one generation, or several side by side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

from adapter.generation.events import Event
from adapter.generation.generation import Generation
from adapter.generation.no_generation import NoGeneration

_MOST_WAITING = 64  # events that were made and not sent yet; then the engines' streams wait


class Choices:
    """Generations that run together; each one's place in the sequence is the index of its choice.

    Args:
        prompts: how many different prompts there are; the generations of one prompt stand side by side.
    """

    def __init__(self, generations: Sequence[Generation | NoGeneration], prompts: int = 1) -> None:
        self.generations = generations
        self._per_prompt = len(generations) // prompts
        self._queue: asyncio.Queue[tuple[int, Event] | BaseException | None] | None = None

    @property
    def prompt_tokens(self) -> int:
        """Each prompt counts once, however many answers it has."""
        return sum(generation.prompt_tokens for generation in self.generations[:: self._per_prompt])

    @property
    def completion_tokens(self) -> int:
        return sum(generation.record.completion_tokens for generation in self.generations)

    @property
    def waiting(self) -> bool:
        """Whether `events` goes on without having to wait."""
        if self._queue is not None:
            return not self._queue.empty()
        return self.generations[0].waiting

    def cancel(self) -> None:
        """The client has left: frees the engine's slots at once; `events` then raises StreamCancelled."""
        for generation in self.generations:
            generation.cancel()

    async def events(self) -> AsyncGenerator[tuple[int, Event], None]:
        """Every event with its choice's index. The first failure of one ends all.

        Raises:
            APIError, StreamCancelled: as `Generation.events`.
        """
        if len(self.generations) == 1:
            async with contextlib.aclosing(self.generations[0].events()) as events:
                async for event in events:
                    yield 0, event
            return
        queue = self._queue = asyncio.Queue(_MOST_WAITING)
        tasks = [asyncio.ensure_future(self._run(index, queue)) for index in range(len(self.generations))]
        running = len(tasks)
        try:
            while running:
                item = await queue.get()
                if item is None:
                    running -= 1
                elif isinstance(item, BaseException):
                    raise item
                else:
                    yield item
        finally:
            for task in tasks:  # which frees the slots of the engines; as cancelled counts only what `cancel` was for
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, index: int, queue: asyncio.Queue[tuple[int, Event] | BaseException | None]) -> None:
        try:
            async with contextlib.aclosing(self.generations[index].events()) as events:
                async for event in events:
                    await queue.put((index, event))
            await queue.put(None)
        except Exception as error:
            await queue.put(error)
