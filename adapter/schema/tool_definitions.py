"""What a client may define a tool with, whichever API it comes through."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from adapter.parsing.custom_input import INPUT_KEY
from adapter.parsing.tool_format import Tool
from adapter.schema.unsupported import unsupported_parameter

MOST_TOOLS = 128
LONGEST_GRAMMAR = 16_384

ToolName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+$")]
GrammarText = Annotated[str, Field(min_length=1, max_length=LONGEST_GRAMMAR)]


def custom_tool(name: str, description: str | None, grammar: tuple[str, str] | None, place: str) -> Tool:
    """A custom tool as the function with one string that models are shown.

    Args:
        grammar: syntax and definition; None: any text.
        place: where in the body the grammar stands, for errors.

    Raises:
        APIError: 400, the grammar cannot be enforced.
    """
    text: dict[str, Any] = {"type": "string"}
    if grammar is not None:
        syntax, definition = grammar
        if syntax != "regex":
            raise unsupported_parameter(
                f"{place}.syntax",
                "Grammars in Lark are not enforced: write it as a regular expression ('regex'), or use a function "
                "with 'strict'.",
            )
        text["pattern"] = f"^(?:{definition})$"
    parameters = {
        "type": "object",
        "properties": {INPUT_KEY: text},
        "required": [INPUT_KEY],
        "additionalProperties": False,
    }
    return Tool(name, description or "", parameters, strict=grammar is not None)
