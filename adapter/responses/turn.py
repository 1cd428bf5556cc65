"""One call of the model within a response: its prompt from items, cut to the context if it may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from adapter.errors import APIError
from adapter.generation.chat_plan import ChatPlan, plan_chat
from adapter.generation.field_names import RESPONSES
from adapter.generation.generation import Generation
from adapter.generation.item_messages import item_messages
from adapter.generation.media_parts import media_parts
from adapter.generation.prompt import Conversation
from adapter.generation.sampling import output_budget
from adapter.generation.tool_use import ToolUse
from adapter.media.loader import MediaLoader
from adapter.responses.ask import Ask
from adapter.schema.verbosity import verbosity_instruction
from adapter.triton.channel import TritonChannel

Item = dict[str, Any]

_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})


@dataclass(frozen=True)
class Backend:
    """What turns are made with. tool_timeout: seconds for one call of a server-side tool."""

    channel: TritonChannel
    media: MediaLoader
    tool_timeout: float


class Turn:
    """What one call of the model is asked."""

    def __init__(self, backend: Backend, ask: Ask, items: Sequence[Item], tools: ToolUse | None) -> None:
        self._backend = backend
        self._ask = ask
        self._items = list(items)
        self._tools = tools

    async def generation(self, number: int, *, streaming: bool, timeout: float) -> Generation:
        """The generation, about to run.

        Raises:
            APIError: 400, naming the field at fault; `context_length_exceeded` unless `truncation` is `auto`.
        """
        ask = self._ask
        plan, media = await self._plan_that_fits()
        loaded = await media.load(self._backend.media) if media.parts else []
        sampling = replace(
            ask.sampling, guide=plan.guide, cache_scope=ask.owner, media=tuple(medium.data for medium in loaded)
        )
        return Generation(
            self._backend.channel,
            ask.model,
            f"{ask.response_id}-{number}",
            plan.prompt,
            sampling,
            streaming=streaming,
            timeout=timeout,
            reading=plan.reading(),
            prompt_param="input",
        )

    async def prompt_tokens(self) -> int:
        """Tokens of the prompt; an image or a clip counts as one, as only the engine knows how many it makes."""
        plan, _ = await self._plan(self._items)
        return len(plan.prompt)

    async def _plan_that_fits(self) -> tuple[ChatPlan, Any]:
        plan = await self._plan(self._items)
        try:
            output_budget(self._ask.model, len(plan[0].prompt), self._ask.sampling.max_tokens, "input")
            return plan
        except APIError:
            if self._ask.request.truncation != "auto":
                raise
        # The fewest oldest items are left out that make it fit: the more there are, the shorter the prompt.
        starts = _starts(self._items)
        low, high = 0, len(starts) - 1
        while low < high:
            middle = (low + high) // 2
            if await self._fits(starts[middle]):
                high = middle
            else:
                low = middle + 1
        plan = await self._plan(_from(self._items, starts[low]))
        output_budget(self._ask.model, len(plan[0].prompt), self._ask.sampling.max_tokens, "input")
        return plan

    async def _fits(self, start: int) -> bool:
        plan, _ = await self._plan(_from(self._items, start))
        room = self._ask.model.context_length - len(plan.prompt)
        return room >= (self._ask.sampling.max_tokens or 1)

    async def _plan(self, items: Sequence[Item]) -> tuple[ChatPlan, Any]:
        ask = self._ask
        media = media_parts(ask.model)
        told = [text for text in (ask.instructions, verbosity_instruction(ask.request.verbosity)) if text]
        messages = item_messages(items, "\n\n".join(told) or None, media, ask.places)
        conversation = Conversation(messages, variables=ask.request.chat_template_kwargs or {}, media=media)
        plan = await plan_chat(
            ask.model, conversation, self._tools, ask.request.answer_schema, ask.request.reasoning_effort, RESPONSES
        )
        return plan, media


def _starts(items: Sequence[Item]) -> list[int]:
    """Where the context may begin: with any of the items but a tool's output, whose call would be missing."""
    return [index for index, item in enumerate(items) if item.get("type") not in _OUTPUTS] or [0]


def _from(items: Sequence[Item], start: int) -> list[Item]:
    """System messages stay, wherever they are. An output whose call is left out is left out too."""
    gone = {item.get("call_id") for item in items[:start]} - {None}
    kept = [item for item in items[:start] if item.get("role") in ("system", "developer")]
    rest = [item for item in items[start:] if item.get("type") not in _OUTPUTS or item.get("call_id") not in gone]
    return kept + rest
