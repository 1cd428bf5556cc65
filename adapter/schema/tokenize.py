"""The bodies of `POST /v1/tokenize` and `POST /v1/detokenize`, in vLLM's form."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

from adapter.errors import invalid_request
from adapter.schema.body import RequestModel, check
from adapter.schema.chat_messages import Messages
from adapter.schema.chat_tools import Tools
from adapter.schema.token_ids import TOKENS, check_flat_ids
from adapter.schema.violations import wrong_type


class TokenizeRequest(RequestModel):
    """A text, or the messages of a chat with what else makes its prompt."""

    model: str
    prompt: str | None = None
    messages: Messages | None = None
    tools: Tools | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(RequestModel):
    model: str
    tokens: Annotated[Any, WithJsonSchema(TOKENS)]


def parse_tokenize_request(body: dict[str, Any]) -> TokenizeRequest:
    """Raises APIError, 400, naming the field."""
    request = check(TokenizeRequest, body)
    if request.prompt is None and request.messages is None:
        raise invalid_request(
            "Missing required parameter: 'prompt', or 'messages'.", "prompt", "missing_required_parameter"
        )
    if request.prompt is not None and request.messages is not None:
        raise invalid_request(
            "'prompt' and 'messages' cannot be given together.", "messages", "invalid_parameter_combination"
        )
    if request.messages is None:
        for name in ("tools", "chat_template_kwargs", "add_generation_prompt"):
            if getattr(request, name) is not None:
                message = f"'{name}' is only allowed with 'messages'."
                raise invalid_request(message, name, "invalid_parameter_combination")
    return request


def parse_detokenize_request(body: dict[str, Any]) -> DetokenizeRequest:
    """Raises APIError, 400, naming the field."""
    request = check(DetokenizeRequest, body)
    if not isinstance(request.tokens, list):
        raise wrong_type("tokens", "an array", request.tokens)
    check_flat_ids(request.tokens, "tokens")
    return request
