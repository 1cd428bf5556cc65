"""JSON schemas as llguidance takes them."""

from __future__ import annotations

from typing import Any

# One blank, or a line break and an indentation. Unbounded white space, which the JSON grammar allows, would let a
# weak model write line breaks until the end of its answer.
WHITE_SPACE = r"( |\r?\n[ \t]{0,24})"


def bounded(schema: dict[str, Any] | bool) -> dict[str, Any]:
    """The schema with our options for its compiler; `true` and `false` as schemas of their own."""
    if isinstance(schema, bool):
        schema = {} if schema else {"not": {}}
    return {**schema, "x-guidance": {"whitespace_pattern": WHITE_SPACE}}
