"""Content parts of the Responses API: what messages, tool outputs and reasoning are made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from adapter.schema.body import RequestModel
from adapter.schema.unsupported import refused

MOST_PARTS = 2048
_MOST_ANNOTATIONS = 4096
_MOST_LOGPROBS = 1_048_576
_LONGEST_ID = 255  # as the store's keys

ObjectID = Annotated[str, Field(min_length=1, max_length=_LONGEST_ID)]
_CacheBreakpoint = Annotated[Any, refused("Leave it out: the engine decides about prompt caching.")]


class InputText(RequestModel):
    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: _CacheBreakpoint = None


class _OneSource(RequestModel):
    """A part whose content comes from exactly one of several fields."""

    @model_validator(mode="after")
    def _has_one_source(self) -> _OneSource:
        names = [name for name in ("image_url", "file_data", "file_id", "file_url") if name in type(self).model_fields]
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            listed = ", ".join(f"'{name}'" for name in names)
            raise PydanticCustomError("one_source", f"exactly one of {listed} is needed.")
        return self


class InputImage(_OneSource):
    """`image_url`: http(s) or data URL; `file_id`: an uploaded file."""

    type: Literal["input_image"]
    image_url: str | None = None
    file_id: ObjectID | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None
    prompt_cache_breakpoint: _CacheBreakpoint = None


class InputFile(_OneSource):
    """`file_data`: base64 or a data URL; `file_url`: http(s); `file_id`: an uploaded file. Its text is read."""

    type: Literal["input_file"]
    file_data: str | None = None
    file_id: ObjectID | None = None
    file_url: str | None = None
    filename: Annotated[str, Field(max_length=1024)] | None = None
    detail: Annotated[Any, refused("Leave it out: it is the text of files that reaches the model.", "auto")] = None
    prompt_cache_breakpoint: _CacheBreakpoint = None


class Clip(RequestModel):
    """`data` is base64."""

    data: str
    format: Literal["wav", "mp3"]


class InputAudio(RequestModel):
    type: Literal["input_audio"]
    input_audio: Clip


class OutputText(RequestModel):
    """Annotations and log probabilities are the server's own: they are taken back, and the model does not see them."""

    type: Literal["output_text"]
    text: str
    annotations: Annotated[list[dict[str, Any]], Field(max_length=_MOST_ANNOTATIONS, fail_fast=True)] | None = None
    logprobs: Annotated[list[dict[str, Any]], Field(max_length=_MOST_LOGPROBS, fail_fast=True)] | None = None


class Refusal(RequestModel):
    type: Literal["refusal"]
    refusal: str


class ReasoningText(RequestModel):
    type: Literal["reasoning_text"]
    text: str


class SummaryText(RequestModel):
    type: Literal["summary_text"]
    text: str


InputPart = Annotated[InputText | InputImage | InputFile | InputAudio, Field(discriminator="type")]
OutputPart = Annotated[OutputText | Refusal | InputText, Field(discriminator="type")]
InputParts = Annotated[list[InputPart], Field(min_length=1, max_length=MOST_PARTS, fail_fast=True)]
OutputParts = Annotated[list[OutputPart], Field(max_length=MOST_PARTS, fail_fast=True)]


def complete_part(part: dict[str, Any]) -> dict[str, Any]:
    """The part with the fields that it has when the API shows it."""
    if part["type"] == "output_text":
        return {**part, "annotations": part.get("annotations") or [], "logprobs": part.get("logprobs") or []}
    if part["type"] == "input_image":
        return {"image_url": None, **part, "detail": part.get("detail") or "auto"}
    return part
