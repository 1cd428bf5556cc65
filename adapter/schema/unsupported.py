"""Fields of OpenAI's API that this version refuses: never silently dropped, and always with what would work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from adapter.errors import APIError, invalid_request

UNSUPPORTED_FIELD = "unsupported_field"  # pydantic's kind of error for it; its context has the `advice`


@dataclass(frozen=True)
class Unsupported:
    """A refused field.

    advice: what the client can do instead.
    neutral: values that ask for nothing, and are therefore honoured.
    """

    advice: str
    neutral: tuple[Any, ...] = ()

    def asks_for_nothing(self, value: Any) -> bool:
        return value is None or any(type(value) is type(neutral) and value == neutral for neutral in self.neutral)


_CACHE = "Leave it out: the engine decides about prompt caching."

CHAT_COMPLETIONS: Mapping[str, Unsupported] = {
    "audio": Unsupported("The models here answer with text."),
    "modalities": Unsupported("The models here answer with text: leave it out, or send ['text'].", (["text"],)),
    "moderation": Unsupported("There is no moderation model behind this server."),
    "prediction": Unsupported("Leave it out: the answer is the same without it."),
    "prompt_cache_options": Unsupported(_CACHE),
    "prompt_cache_retention": Unsupported(_CACHE),
    "web_search_options": Unsupported("/v1/responses has the tool `web_search`."),
}

RESPONSES: Mapping[str, Unsupported] = {
    "access_programs": Unsupported("There are no access programs here: leave it out."),
    "background_options": Unsupported("Leave it out: background responses begin at once."),
    "context_management": Unsupported("Send 'truncation': 'auto', or compact the input with /v1/responses/compact."),
    "image": Unsupported("Leave it out: images reach the model as they are, within the server's limits."),
    "moderation": Unsupported("There is no moderation model behind this server."),
    "prompt_cache_options": Unsupported(_CACHE),
    "prompt_cache_retention": Unsupported(_CACHE),
}

INPUT_TOKENS: Mapping[str, Unsupported] = {
    "personality": Unsupported("Leave it out, or say it in 'instructions'."),
}

COMPACT: Mapping[str, Unsupported] = {
    name: RESPONSES[name] for name in ("image", "prompt_cache_options", "prompt_cache_retention")
}


def refused(advice: str, *neutral: Any) -> PlainValidator:
    """What a refused field within an object is annotated with; null and `neutral` ask for nothing."""
    field = Unsupported(advice, neutral)

    def check(value: Any) -> Any:
        if not field.asks_for_nothing(value):
            raise PydanticCustomError(UNSUPPORTED_FIELD, "unsupported", {"advice": advice})
        return value

    return PlainValidator(check, json_schema_input_type=None)


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
        if not field.asks_for_nothing(value):
            raise unsupported_parameter(name, field.advice)
    return {name: value for name, value in body.items() if name not in fields}
