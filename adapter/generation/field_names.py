"""What the fields of a chat request are called in the API that it came by, for errors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldNames:
    """answer_format: the field that says which form the answer has. answer_schema: where in it the JSON schema is.

    effort: how much the model is to reason.
    """

    answer_format: str
    answer_schema: str
    effort: str


CHAT_COMPLETIONS = FieldNames("response_format", "response_format.json_schema.schema", "reasoning_effort")
RESPONSES = FieldNames("text.format", "text.format.schema", "reasoning.effort")
