"""Names by which the model calls the tools of MCP servers: servers know nothing of each other."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONGEST = 64  # as OpenAI has it for functions
_OTHER = re.compile(r"[^a-zA-Z0-9_.-]")


class ToolNames:
    """Args:
    taken: names of the request's other tools.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def take(self, server_label: str, name: str) -> str:
        """The tool's own name if it can be one and is free, else one with the server's label before it."""
        plain = _OTHER.sub("_", name)[:_LONGEST]
        longer = _OTHER.sub("_", f"{server_label}_{name}")[:_LONGEST]
        chosen, number = plain if plain == name else longer, 1
        if chosen in self._taken:
            chosen = longer
        while chosen in self._taken:
            number += 1
            ending = f"_{number}"
            chosen = longer[: _LONGEST - len(ending)] + ending
        self._taken.add(chosen)
        return chosen
