"""Search in vector stores."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from adapter.errors import APIError, not_found
from adapter.generation.encoder import Values
from adapter.retrieval.attributes import passes
from adapter.retrieval.embedder import Embedder
from adapter.retrieval.nearest import Nearest
from adapter.schema.attribute_filters import Filter
from adapter.store.store import Store
from adapter.store.vector_stores import VectorStore
from adapter.store_failures import store_errors

_AT_ONCE = 4  # searches that compute at a time, in this process


@dataclass(frozen=True)
class Found:
    """A chunk. score: 0 to 1."""

    file_id: str
    filename: str
    score: float
    text: str
    attributes: dict[str, str | float | bool]


class VectorSearch:
    def __init__(self, store: Store, embedder: Embedder) -> None:
        self._store = store
        self._embedder = embedder
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def stores(self, owner: str, vector_store_ids: Sequence[str], param: str | None) -> list[VectorStore]:
        """The vector stores, which counts as a use of them.

        Raises:
            APIError: 404, one is not there; `param` is the field that names it.
        """
        found = []
        for vector_store_id in vector_store_ids:
            with store_errors():
                vector_store = await self._store.vector_stores.use(owner, vector_store_id)
            if vector_store is None:
                raise no_vector_store(vector_store_id, param)
            found.append(vector_store)
        return found

    async def search(
        self,
        owner: str,
        vector_stores: Sequence[VectorStore],
        queries: Sequence[str],
        *,
        filters: Filter | None,
        most: int,
        threshold: float,
        params: Sequence[str],
    ) -> list[Found]:
        """The chunks of all the vector stores that are nearest to any of the queries, the best first.

        Args:
            most: chunks.
            threshold: least score, 0 to 1.
            params: name the queries in errors.

        Raises:
            APIError: 400, a query is too long; 503, a model, Triton or the store cannot be had.
        """
        vectors: dict[str, Values] = {}
        found: list[Found] = []
        for vector_store in vector_stores:
            model_id = vector_store.model
            if model_id not in vectors:
                model = await self._embedder.model(model_id, vector_store.dimensions)
                vectors[model_id] = await self._embedder.embed_queries(model, queries, params)
            async with self._room:
                found += await self._search(owner, vector_store, Nearest(vectors[model_id], most, threshold), filters)
        return sorted(found, key=lambda one: -one.score)[:most]

    async def _search(
        self, owner: str, vector_store: VectorStore, nearest: Nearest, filters: Filter | None
    ) -> list[Found]:
        chunks = self._store.vector_chunks
        with store_errors():
            ready = {
                file.file_id: file
                for file in await chunks.files(owner, vector_store.id)
                if filters is None or passes(file.attributes, filters)
            }
            async for page in chunks.vectors(owner, vector_store.id, ready):
                await asyncio.to_thread(nearest.look, page)
            best = nearest.best()
            texts = await chunks.texts(owner, vector_store.id, [place for _, place in best])
        return [
            Found(place[0], ready[place[0]].filename, score, texts[place], ready[place[0]].attributes)
            for score, place in best
            if place in texts
        ]


def no_vector_store(vector_store_id: str, param: str | None = None) -> APIError:
    """404, as OpenAI words it."""
    return not_found(f"Vector store with id '{vector_store_id}' not found.", param)
