"""What is compared with what, and the scores of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Texts:
    """params: the places of the texts in the request body, for errors."""

    texts: Sequence[str]
    params: Sequence[str]


@dataclass(frozen=True)
class Comparison:
    """Documents, each with its query.

    queries: one for all documents, or as many. longest: tokens, special ones included, beyond which a document (for a
    cross-encoder: the pair, by its document) is cut off because the client asked for it; None: nothing is cut off.
    longest_document: the same for a document alone. activation: what the client says of the function over a
    cross-encoder's logit.
    """

    queries: Texts
    documents: Texts
    longest: int | None = None
    longest_document: int | None = None
    activation: bool | None = None

    @property
    def count(self) -> int:
        return len(self.documents.texts)

    def query_of(self, document: int) -> int:
        """The index of a document's query."""
        return document if len(self.queries.texts) > 1 else 0


@dataclass(frozen=True)
class Scores:
    """values: one per document. prompt_tokens: all that the model has read."""

    values: list[float]
    prompt_tokens: int
