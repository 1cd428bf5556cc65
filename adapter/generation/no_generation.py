"""An answer of no tokens, for which no engine is asked: engines generate at least one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from adapter.generation.events import Event, Finish
from adapter.generation.sampling import output_budget
from adapter.telemetry.generations import GenerationRecord
from adapter.triton.model import ServedModel


class NoGeneration:
    """Stands where a Generation stands.

    Raises:
        APIError: 400, the prompt is longer than the context.
    """

    waiting = True  # what it has to say is there already

    def __init__(self, model: ServedModel, prompt: Sequence[int], prompt_param: str) -> None:
        output_budget(model, len(prompt), 0, prompt_param)
        self.prompt_tokens = len(prompt)
        self.record = GenerationRecord(model.id, len(prompt), streaming=False)

    def cancel(self) -> None:
        """There is nothing to end."""

    async def events(self) -> AsyncGenerator[Event, None]:
        yield Finish("length", self.prompt_tokens, 0)
