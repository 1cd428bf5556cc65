"""The body of `POST /v1/embeddings`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.errors import invalid_request
from adapter.schema.body import RequestModel, check
from adapter.schema.violations import too_long

MOST_INPUTS = 2048

TokenID = Annotated[int, Field(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[TokenID], Field(min_length=1, fail_fast=True)]
Inputs = Annotated[list[str], Field(min_length=1, fail_fast=True)]
TokenInputs = Annotated[list[Tokens], Field(min_length=1, fail_fast=True)]


class EmbeddingsRequest(RequestModel):
    """`input`: a text, texts, the token ids of a text, or those of several."""

    model: str
    input: str | Inputs | Tokens | TokenInputs
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None

    @property
    def single(self) -> bool:
        """Whether `input` is one text or the token ids of one, not a list of inputs."""
        return isinstance(self.input, str) or isinstance(self.input[0], int)

    def inputs(self) -> list[str] | list[list[int]]:
        """One entry per embedding."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [self.input]
        return self.input


def parse_embeddings_request(body: dict[str, Any]) -> EmbeddingsRequest:
    """Raises APIError, 400, naming the field."""
    request = check(EmbeddingsRequest, body)
    inputs = request.inputs()
    if len(inputs) > MOST_INPUTS:
        raise too_long("input", "array", len(inputs), MOST_INPUTS)
    for index, text in enumerate(inputs):
        if text == "":
            param = "input" if request.single else f"input[{index}]"
            raise invalid_request(f"Invalid '{param}': input cannot be an empty string.", param, "invalid_value")
    return request
