"""Chat messages to token ids, with the model's own chat template."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from adapter.errors import invalid_request
from adapter.triton.model import ServedModel
from tokentext import TemplateError

# Up to here rendering and tokenizing takes about a millisecond; beyond, it would make other streams wait.
_INLINE_CHARACTERS = 4096
_MESSAGE_CHARACTERS = 64  # what a turn of the template's loop costs, in characters


async def chat_prompt(model: ServedModel, messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Token ids of the conversation, up to where the assistant's answer begins.

    Raises:
        APIError: 400, the model has no chat template, or the template does not take these messages.
    """
    template = model.tokenizer.template
    if template is None:
        raise invalid_request(
            f"The model `{model.id}` has no chat template and takes no chat messages.", "model", "model_not_supported"
        )

    def render() -> list[int]:
        # The template writes the special tokens itself.
        return model.tokenizer.encode(template.render(messages), add_special_tokens=False)

    try:
        if sum(map(_size, messages)) <= _INLINE_CHARACTERS:
            return render()
        return await asyncio.to_thread(render)
    except TemplateError as error:
        raise invalid_request(f"The model's chat template refused the messages: {error}", "messages") from error
    except UnicodeEncodeError as error:  # half of a surrogate pair, escaped in the arguments of a tool call
        message = "Invalid 'messages': the text holds half of a surrogate pair, which has no UTF-8 form."
        raise invalid_request(message, "messages", "invalid_value") from error


def _size(message: Mapping[str, Any]) -> int:
    """About how many characters a message adds to the prompt."""
    calls = message.get("tool_calls") or ()
    arguments = sum(len(call["function"]["arguments"]) + _MESSAGE_CHARACTERS for call in calls)
    return len(message["content"]) + arguments + _MESSAGE_CHARACTERS
