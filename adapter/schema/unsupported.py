"""Fields of OpenAI's API that this version refuses: never silently dropped, and always with what would work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapter.errors import APIError, invalid_request


@dataclass(frozen=True)
class Unsupported:
    """A refused field.

    advice: what the client can do instead.
    neutral: values that ask for nothing, and are therefore honoured.
    """

    advice: str
    neutral: tuple[Any, ...] = ()


_CACHE = "Leave it out: the engine decides about prompt caching."

CHAT_COMPLETIONS: Mapping[str, Unsupported] = {
    "audio": Unsupported("The models here answer with text."),
    "modalities": Unsupported("The models here answer with text: leave it out, or send ['text'].", (["text"],)),
    "moderation": Unsupported("There is no moderation model behind this server."),
    "prediction": Unsupported("Leave it out: the answer is the same without it."),
    "prompt_cache_options": Unsupported(_CACHE),
    "prompt_cache_retention": Unsupported(_CACHE),
    "store": Unsupported("Completions are not stored: leave it out, or send false.", (False,)),
    "verbosity": Unsupported("Leave it out, or say in a message how long the answer should be.", ("medium",)),
    "web_search_options": Unsupported("This server does not search the web."),
}


def unsupported_parameter(param: str, advice: str) -> APIError:
    """400: a field of OpenAI's API that means nothing here."""
    message = f"Unsupported parameter: '{param}' is not supported by this server. {advice}"
    return invalid_request(message, param, "unsupported_parameter")


def refuse_unsupported(body: dict[str, Any], fields: Mapping[str, Unsupported]) -> dict[str, Any]:
    """The body without those refused fields that ask for nothing.

    Raises:
        APIError: 400, one of them asks for something.
    """
    present = [name for name in body if name in fields]
    if not present:
        return body
    for name in present:
        value, field = body[name], fields[name]
        asks_nothing = any(type(value) is type(neutral) and value == neutral for neutral in field.neutral)
        if value is not None and not asks_nothing:
            raise unsupported_parameter(name, field.advice)
    return {name: value for name, value in body.items() if name not in fields}
