"""What an answer can be held to, whichever API it is asked of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.schema.body import RequestModel

# TensorRT-LLM's grammar compiler takes properties that are not named for forbidden unless this says otherwise.
ANY_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}

FormatName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]


class TextFormat(RequestModel):
    type: Literal["text"]


class JSONObjectFormat(RequestModel):
    type: Literal["json_object"]
