"""The messages of a chat completion request."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.errors import invalid_request
from adapter.generation.media_parts import MediaPart, MediaParts
from adapter.parsing.custom_input import INPUT_KEY
from adapter.schema.body import RequestModel
from adapter.schema.violations import wrong_type

_MOST_MESSAGES = 16_384
_MOST_PARTS = 2048
_MOST_CALLS = 1024


class TextPart(RequestModel):
    type: Literal["text"]
    text: str


class RefusalPart(RequestModel):
    type: Literal["refusal"]
    refusal: str


class ImageURL(RequestModel):
    """An http(s) or data URL."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(RequestModel):
    type: Literal["image_url"]
    image_url: ImageURL


class InputAudio(RequestModel):
    """`data` is base64."""

    data: str
    format: Literal["wav", "mp3"]


class AudioPart(RequestModel):
    type: Literal["input_audio"]
    input_audio: InputAudio


class FileData(RequestModel):
    """`file_data` is a data URL or base64; or the id of a file that is kept here."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(RequestModel):
    type: Literal["file"]
    file: FileData


ContentPart = Annotated[TextPart | RefusalPart | ImagePart | AudioPart | FilePart, Field(discriminator="type")]
Content = str | Annotated[list[ContentPart], Field(min_length=1, max_length=_MOST_PARTS, fail_fast=True)]


class FunctionCall(RequestModel):
    name: str
    arguments: str


class FunctionToolCall(RequestModel):
    """A call that the assistant made earlier in the conversation."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class CustomCall(RequestModel):
    name: str
    input: str


class CustomToolCall(RequestModel):
    """A call of a custom tool."""

    id: str
    type: Literal["custom"]
    custom: CustomCall


ToolCall = Annotated[FunctionToolCall | CustomToolCall, Field(discriminator="type")]


class DeveloperMessage(RequestModel):
    role: Literal["developer"]
    content: Content
    name: str | None = None


class SystemMessage(RequestModel):
    role: Literal["system"]
    content: Content
    name: str | None = None


class UserMessage(RequestModel):
    role: Literal["user"]
    content: Content
    name: str | None = None


class AssistantMessage(RequestModel):
    """Fields that an answer of this API has are taken back in the form it gave them."""

    role: Literal["assistant"]
    content: Content | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=_MOST_CALLS, fail_fast=True)] | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = None
    function_call: FunctionCall | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class ToolMessage(RequestModel):
    role: Literal["tool"]
    content: Content
    tool_call_id: str


class FunctionMessage(RequestModel):
    """What a function returned, in the older form."""

    role: Literal["function"]
    content: Content | None
    name: str


Message = Annotated[
    DeveloperMessage | SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage,
    Field(discriminator="role"),
]
Messages = Annotated[list[Message], Field(min_length=1, max_length=_MOST_MESSAGES, fail_fast=True)]


def template_messages(messages: list[Message], media: MediaParts) -> list[dict[str, Any]]:
    """The messages as chat templates take them: content as one string, `developer` as the `system` that they know.

    Args:
        messages: files among them have been read (`adapter.routes.chat_files`).
        media: where images and audio go; their markers are in the text.

    Raises:
        APIError: 400, a part is of a kind that the model does not take.
    """
    return [_template_message(message, f"messages[{index}]", media) for index, message in enumerate(messages)]


def _template_message(message: Message, where: str, media: MediaParts) -> dict[str, Any]:
    role = {"developer": "system", "function": "tool"}.get(message.role, message.role)
    rendered: dict[str, Any] = {"role": role, "content": _text(message.content, where, media)}
    if isinstance(message, AssistantMessage):
        if not message.content and message.refusal:
            rendered["content"] = message.refusal
        if reasoning := message.reasoning_content or message.reasoning:
            rendered["reasoning_content"] = reasoning
        if calls := _calls(message):
            rendered["tool_calls"] = calls
        elif message.content is None and message.refusal is None:
            raise wrong_type(f"{where}.content", "one of a string or array", None)
    if isinstance(message, ToolMessage):
        rendered["tool_call_id"] = message.tool_call_id
    elif isinstance(message, FunctionMessage):
        rendered["tool_call_id"] = rendered["name"] = message.name
    elif message.name is not None:
        rendered["name"] = message.name
    return rendered


def _calls(message: AssistantMessage) -> list[dict[str, Any]]:
    """Calls as templates know them: all of them functions with JSON arguments."""
    calls = []
    for call in message.tool_calls or []:
        if isinstance(call, FunctionToolCall):
            calls.append(call.model_dump())
        else:
            calls.append(_function_call(call.id, call.custom.name, json.dumps({INPUT_KEY: call.custom.input})))
    if message.function_call is not None and not calls:
        name = message.function_call.name
        calls.append(_function_call(name, name, message.function_call.arguments))
    return calls


def _function_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _text(content: str | list[ContentPart] | None, where: str, media: MediaParts) -> str:
    """Parts become lines: they are separate pieces of text, and none may grow together with the next."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(_part(part, f"{where}.content[{index}]", media) for index, part in enumerate(content))


def _part(part: ContentPart, place: str, media: MediaParts) -> str:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, RefusalPart):
        return part.refusal
    if isinstance(part, ImagePart) and "image" in media.kinds:
        image = part.image_url
        return media.add(MediaPart("image", image.url, image.detail or "auto", f"{place}.image_url.url"))
    if isinstance(part, AudioPart) and "audio" in media.kinds:
        clip = part.input_audio
        return media.add(MediaPart("audio", clip.data, clip.format, f"{place}.input_audio.data"))
    taken = " and ".join(["text", *sorted(media.kinds)])
    message = f"Invalid '{place}': this model takes {taken} only, not parts of type '{part.type}'."
    raise invalid_request(message, place, "unsupported_content_type")
