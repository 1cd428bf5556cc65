"""The body of `POST /v1/embeddings`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from adapter.schema.body import RequestModel, check
from adapter.schema.text_inputs import check_text_inputs, text_inputs_schema

MOST_INPUTS = 2048

_INPUT = {"anyOf": text_inputs_schema(MOST_INPUTS, empty=False)}


class EmbeddingsRequest(RequestModel):
    """`input`: a text, texts, the token ids of a text, or those of several.

    pydantic hands `input` through as it is: `parse_embeddings_request` checks it, without an object for every id.
    """

    model: str
    input: Annotated[Any, WithJsonSchema(_INPUT)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None

    @property
    def single(self) -> bool:
        """Whether `input` is one text or the token ids of one, not a list of inputs."""
        return isinstance(self.input, str) or isinstance(self.input[0], int)

    def inputs(self) -> list[str] | list[list[int]]:
        """One entry per embedding."""
        return [self.input] if self.single else self.input


def parse_embeddings_request(body: dict[str, Any]) -> EmbeddingsRequest:
    """Raises APIError, 400, naming the field."""
    request = check(EmbeddingsRequest, body)
    check_text_inputs(request.input, "input", MOST_INPUTS, empty=False)
    return request
