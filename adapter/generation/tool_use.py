"""The tools of one request, as the pipeline takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adapter.parsing.guides import Choice
from adapter.parsing.tool_format import Tool


@dataclass(frozen=True)
class ToolUse:
    """The tools of one request, whichever form they came in.

    definitions: for the chat template; those that the model is told of.
    callable: those that it may call.
    places: where in the body each callable one stands, for errors.
    custom: names of custom tools.
    legacy: they came as `functions`.
    """

    definitions: list[dict[str, Any]]
    callable: list[Tool]
    places: list[str]
    choice: Choice
    parallel: bool
    custom: frozenset[str]
    legacy: bool
