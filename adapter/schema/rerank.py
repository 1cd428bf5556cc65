"""The bodies of `POST /v1/rerank` (the form of Jina, Cohere and vLLM) and `POST /v1/score` (vLLM's)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from adapter.errors import invalid_request
from adapter.schema.body import RequestModel, check
from adapter.schema.violations import too_long

MOST_DOCUMENTS = 2048
MODELS_OWN_LENGTH = -1  # of `truncate_prompt_tokens`: as many as the model takes

_TruncatePromptTokens = Annotated[int, Field(ge=MODELS_OWN_LENGTH, le=2**31 - 1)] | None
_Texts = Annotated[list[str], Field(min_length=1, max_length=MOST_DOCUMENTS, fail_fast=True)]


class Document(RequestModel):
    text: str


class RerankRequest(RequestModel):
    """`documents` in the order of their relevance to `query`."""

    model: str
    query: str
    documents: Annotated[list[str | Document], Field(min_length=1, max_length=MOST_DOCUMENTS, fail_fast=True)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    truncate_prompt_tokens: _TruncatePromptTokens = None
    use_activation: bool | None = None
    user: str | None = None

    def texts(self) -> list[str]:
        return [document if isinstance(document, str) else document.text for document in self.documents]


class ScoreRequest(RequestModel):
    """The score of each pair: one text with each of many, or many with as many others. `queries`, `documents` are
    other names of `text_1`, `text_2`."""

    model: str
    text_1: str | _Texts | None = None
    text_2: str | _Texts | None = None
    queries: str | _Texts | None = None
    documents: str | _Texts | None = None
    truncate_prompt_tokens: _TruncatePromptTokens = None
    use_activation: bool | None = None
    user: str | None = None

    @property
    def names(self) -> tuple[str, str]:
        """The fields that hold the two sides."""
        return ("queries", "documents") if self.queries is not None else ("text_1", "text_2")

    def sides(self) -> list[tuple[list[str], list[str]]]:
        """Both sides: their texts, and where in the body each of them is."""
        found = []
        for name in self.names:
            value = getattr(self, name)
            places = [name] if isinstance(value, str) else [f"{name}[{index}]" for index in range(len(value))]
            found.append((_listed(value), places))
        return found


def parse_rerank_request(body: dict[str, Any]) -> RerankRequest:
    """Raises APIError, 400, naming the field."""
    _check_number(body, "documents")
    request = check(RerankRequest, body)
    _check_truncation(request.truncate_prompt_tokens)
    _check_text(request.query, "query")
    for index, text in enumerate(request.texts()):
        is_text = isinstance(request.documents[index], str)
        _check_text(text, f"documents[{index}]" if is_text else f"documents[{index}].text")
    return request


def parse_score_request(body: dict[str, Any]) -> ScoreRequest:
    """Raises APIError, 400, naming the field."""
    for name in ("text_1", "text_2", "queries", "documents"):
        _check_number(body, name)
    request = check(ScoreRequest, body)
    _check_truncation(request.truncate_prompt_tokens)
    first, second = request.names
    for name in ("text_1", "text_2", "queries", "documents"):
        given = getattr(request, name) is not None
        if given and name not in (first, second):
            raise invalid_request(
                f"'{name}' and '{first}' cannot be given together.", name, "invalid_parameter_combination"
            )
        if not given and name in (first, second):
            raise invalid_request(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
        if given:
            value = getattr(request, name)
            for index, text in enumerate(_listed(value)):
                _check_text(text, name if isinstance(value, str) else f"{name}[{index}]")
    counts = [len(_listed(getattr(request, name))) for name in (first, second)]
    if counts[0] != 1 and counts[0] != counts[1]:
        raise invalid_request(
            f"Invalid '{second}': '{first}' has {counts[0]} texts and '{second}' {counts[1]}. "
            f"Give '{first}' one text, or as many as '{second}'.",
            second,
            "invalid_value",
        )
    return request


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _check_number(body: dict[str, Any], name: str) -> None:
    """Before anything looks at the elements."""
    value = body.get(name)
    if isinstance(value, list) and len(value) > MOST_DOCUMENTS:
        raise too_long(name, "array", len(value), MOST_DOCUMENTS)


def _check_text(text: str, param: str) -> None:
    if not text:
        raise invalid_request(f"Invalid '{param}': it cannot be an empty string.", param, "invalid_value")


def _check_truncation(limit: int | None) -> None:
    if limit == 0:
        param = "truncate_prompt_tokens"
        message = (
            f"Invalid '{param}': 0 tokens hold no text. Expected at least 1, or -1 for as many as the model takes."
        )
        raise invalid_request(message, param, "invalid_value")
