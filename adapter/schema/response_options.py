"""Options of the Responses API that come as objects: `text`, `reasoning`, `stream_options`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.schema.answer_formats import ANY_OBJECT, FormatName, JSONObjectFormat, TextFormat
from adapter.schema.body import RequestModel
from adapter.schema.unsupported import refused
from adapter.schema.verbosity import Verbosity

_Summary = Annotated[
    Any,
    refused(
        "Reasoning is not condensed: with 'auto' or 'detailed' all of it is shown as the summary, without it as the "
        "'content' of the reasoning items.",
        "auto",
        "detailed",
    ),
]


class JSONSchemaFormat(RequestModel):
    type: Literal["json_schema"]
    name: FormatName
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


AnswerFormat = Annotated[TextFormat | JSONObjectFormat | JSONSchemaFormat, Field(discriminator="type")]


class TextOptions(RequestModel):
    format: AnswerFormat | None = None
    verbosity: Verbosity | None = None

    @property
    def answer_schema(self) -> dict[str, Any] | None:
        """The JSON schema that the answer is held to; None for text."""
        if isinstance(self.format, JSONSchemaFormat):
            return self.format.schema_ or ANY_OBJECT
        return ANY_OBJECT if isinstance(self.format, JSONObjectFormat) else None


class ReasoningOptions(RequestModel):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: _Summary = None
    generate_summary: _Summary = None
    context: Annotated[Any, refused("The model's chat template decides which reasoning it sees again.", "auto")] = None
    mode: Annotated[Any, refused("There is one mode: leave it out.", "standard")] = None

    @property
    def summarized(self) -> bool:
        """Whether reasoning is shown as a summary."""
        return bool(self.summary or self.generate_summary)


class ResponseStreamOptions(RequestModel):
    include_obfuscation: bool | None = None
