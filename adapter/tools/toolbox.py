"""What the loop of a response knows of server-side tools, whatever stands behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from adapter.encoding.response_writer import CallForm, PendingCall
from adapter.parsing.tool_format import Tool
from adapter.schema.tool_choice import HostedTool

Item = dict[str, Any]


@dataclass(frozen=True)
class Offer:
    """A tool that the model may call and this server runs.

    place: where in the request's body it was asked for, for errors.
    form: what a call of it is shown as.
    hosted: what `tool_choice` knows it by.
    """

    tool: Tool
    place: str
    form: CallForm
    hosted: HostedTool


@dataclass(frozen=True)
class CallOutcome:
    """item: the finished output item. told: the same with all that the model is to read, if the client sees less."""

    item: Item
    told: Item
    failed: bool = False


class ToolboxUnavailable(Exception):
    """What stands behind the tools cannot be reached, or does not answer as it should; the client is told so."""


class Toolbox(Protocol):
    """One source of server-side tools, for one response. `open` is called once and first, `aclose` last.

    Each method may run in a task of its own, several calls side by side, and may be cancelled.
    """

    def announcement(self, known: Sequence[Item]) -> Item | None:
        """The item that tells the client of the tools, still incomplete; None: there is nothing to tell.

        Args:
            known: items of the context; a listing of the same tools among them is not repeated.
        """
        ...

    async def open(self, announcement: Item | None) -> Item | None:
        """Makes ready to offer and to call. Returns the announcement, complete.

        Raises:
            ToolboxUnavailable
        """
        ...

    def offers(self) -> Sequence[Offer]: ...

    async def call(self, call: PendingCall) -> CallOutcome:
        """Runs a call. A tool's own failure is an outcome, for the model to read."""
        ...

    def citations(self, text: str) -> list[Item]:
        """What a text of the model refers to of that which calls have found, as annotations of it."""
        ...

    async def aclose(self) -> None: ...
