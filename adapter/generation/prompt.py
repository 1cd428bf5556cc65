"""Chat messages to token ids, with the model's own chat template."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapter.errors import invalid_request
from adapter.generation.media_parts import MediaParts
from adapter.parsing.formats import format_for
from adapter.parsing.tool_prompt import with_tools
from adapter.triton.model import ServedModel
from tokentext import ChatTemplate, TemplateError

# Up to here rendering and tokenizing takes about a millisecond; beyond, it would make other streams wait.
_INLINE_CHARACTERS = 4096
_MESSAGE_CHARACTERS = 64  # what a turn of the template's loop costs, in characters


@dataclass(frozen=True)
class Conversation:
    """What a prompt is made of.

    messages: as chat templates take them, with `arguments` of calls as JSON text.
    tools: OpenAI tool definitions that the model is told of.
    variables: further variables of the template.
    add_generation_prompt: whether the prompt ends where an answer of the assistant begins.
    continue_final: the prompt ends within the last message, which the answer goes on with.
    media: what the markers in the messages stand for.
    """

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    add_generation_prompt: bool = True
    continue_final: bool = False
    media: MediaParts | None = None


async def chat_prompt(model: ServedModel, conversation: Conversation) -> tuple[list[int], str]:
    """Token ids of the prompt, and its text.

    Raises:
        APIError: 400, the model has no chat template, or the template does not take these messages.
    """
    template = model.tokenizer.template
    if template is None:
        raise invalid_request(
            f"The model `{model.id}` has no chat template and takes no chat messages.", "model", "model_not_supported"
        )

    def prompt() -> tuple[list[int], str]:
        # The template writes the special tokens itself. A batch of one: only then do other threads run meanwhile.
        text = _render(model, template, conversation)
        if conversation.media is not None and conversation.media.parts:
            return conversation.media.encode(model.tokenizer, text), text
        return model.tokenizer.encode_batch([text], add_special_tokens=False)[0], text

    try:
        size = sum(map(_size, conversation.messages)) + len(conversation.tools) * _INLINE_CHARACTERS // 4
        if size <= _INLINE_CHARACTERS:
            return prompt()
        return await asyncio.to_thread(prompt)
    except TemplateError as error:
        raise invalid_request(f"The model's chat template refused the messages: {error}", "messages") from error
    except UnicodeEncodeError as error:  # half of a surrogate pair, escaped in the arguments of a tool call
        message = "Invalid 'messages': the text holds half of a surrogate pair, which has no UTF-8 form."
        raise invalid_request(message, "messages", "invalid_value") from error


def _render(model: ServedModel, template: ChatTemplate, conversation: Conversation) -> str:
    messages, tools = conversation.messages, conversation.tools
    tool_format = format_for(model.tool_parser, template)
    if tools or any(message["role"] == "tool" or "tool_calls" in message for message in messages):
        messages = with_tools(template, messages, tools, tool_format)
    messages = tool_format.template_messages(messages)
    text = template.render(
        messages,
        tools=tools,
        add_generation_prompt=conversation.add_generation_prompt and not conversation.continue_final,
        **conversation.variables,
    )
    return _up_to_content(text, messages[-1]) if conversation.continue_final else text


def _up_to_content(text: str, message: Mapping[str, Any]) -> str:
    """The prompt without what the template writes after the last message's content."""
    content = message["content"]
    # Templates may trim the content, at its end too.
    for form in (content, content.rstrip(), content.strip()):
        place = text.rfind(form) if form else -1
        if place >= 0:
            return text[: place + len(form)]
    raise TemplateError("it does not write the last message as it is, so that 'continue_final_message' cannot be done")


def _size(message: Mapping[str, Any]) -> int:
    """About how many characters a message adds to the prompt."""
    calls = message.get("tool_calls") or ()
    arguments = sum(len(call["function"]["arguments"]) + _MESSAGE_CHARACTERS for call in calls)
    return len(message["content"]) + arguments + _MESSAGE_CHARACTERS
