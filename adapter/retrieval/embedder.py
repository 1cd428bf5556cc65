"""The embedding model of vector stores: texts of any length in, vectors out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from adapter.errors import APIError, invalid_request, unavailable
from adapter.generation.embedding import check_rows, embed
from adapter.generation.encoder import Values
from adapter.retrieval.chunking import Span, TokenizedText, windows
from adapter.triton.channel import TritonChannel
from adapter.triton.model import Kind, ServedModel
from adapter.triton.registry import ModelRegistry


class Embedder:
    """Args:
    preferred: id of the model for new vector stores; "": the first that Triton has.
    timeout: seconds for one call of the model.
    """

    def __init__(self, channel: TritonChannel, registry: ModelRegistry, preferred: str, timeout: float) -> None:
        self._channel = channel
        self._registry = registry
        self._preferred = preferred
        self._timeout = timeout

    async def default_model(self) -> ServedModel:
        """The model for a new vector store.

        Raises:
            APIError: 400, there is none; 503, it cannot be used at the moment.
        """
        if self._preferred:
            return await self.model(self._preferred)
        for model in await self._registry.models():
            if model.kind is Kind.EMBEDDING:
                return model
        raise invalid_request(
            "This server has no embedding model, which vector stores need.", code="no_embedding_model"
        )

    async def model(self, model_id: str, dimensions: int | None = None) -> ServedModel:
        """The model that a vector store was made with.

        Args:
            dimensions: of its vectors, at that time.

        Raises:
            APIError: 503, it cannot be used at the moment.
        """
        try:
            model = await self._registry.get(model_id, Kind.EMBEDDING)
        except APIError as error:
            if error.status == 503:
                raise
            raise unavailable(f"The embedding model `{model_id}` is not served at the moment.") from error
        if dimensions not in (None, model.dimensions):
            raise unavailable(
                f"The embedding model `{model_id}` is another one now: the vector store was made with one of "
                f"{dimensions} dimensions. Make the vector store anew."
            )
        return model

    async def embed_queries(self, model: ServedModel, queries: Sequence[str], params: Sequence[str]) -> Values:
        """FP32 [queries, dimensions].

        Raises:
            APIError: 400, a query is too long; `params` name them.
        """
        rows = await asyncio.to_thread(model.tokenizer.encode_batch, queries, add_special_tokens=True)
        check_rows(model, rows, params)
        return (await embed(self._channel, model, rows, None, self._timeout)).vectors

    async def embed_chunks(self, model: ServedModel, text: TokenizedText, chunks: Sequence[Span]) -> list[Values]:
        """For each chunk FP32 [windows, dimensions]: a model reads no more than its context at once."""
        before, after = model.tokenizer.surroundings()
        longest = model.context_length - len(before) - len(after)
        parts = [windows(chunk, longest) for chunk in chunks]
        rows = [[*before, *text.ids[part.first : part.end], *after] for chunk in parts for part in chunk]
        vectors = (await embed(self._channel, model, rows, None, self._timeout)).vectors
        return np.split(vectors, np.cumsum([len(chunk) for chunk in parts])[:-1])
