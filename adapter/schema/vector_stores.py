"""Bodies of `/v1/vector_stores` and below."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.errors import invalid_request
from adapter.schema.attribute_filters import Filter, attribute_filter
from adapter.schema.attributes import Attributes
from adapter.schema.body import RequestModel
from adapter.schema.metadata import Metadata
from adapter.schema.response_parts import ObjectID
from adapter.schema.unsupported import refused
from adapter.store.vector_store_files import FileToAdd

_DEFAULT_CHUNK, _DEFAULT_OVERLAP = 800, 400  # tokens, as OpenAI's `auto`
_LEAST_CHUNK, _MOST_CHUNK = 100, 4096
_MOST_AT_CREATION = 500  # files, as in OpenAI's API
_MOST_IN_BATCH = 2000
_MOST_QUERIES = 16
_LONGEST_QUERY = 4096  # characters, as in OpenAI's API
DEFAULT_RESULTS = 10

_Name = Annotated[str, Field(max_length=256)]
_Query = Annotated[str, Field(min_length=1, max_length=_LONGEST_QUERY)]
_FileIDs = Annotated[list[ObjectID], Field(max_length=_MOST_AT_CREATION, fail_fast=True)]


class ExpiresAfter(RequestModel):
    anchor: Literal["last_active_at"]
    days: Annotated[int, Field(ge=1, le=365)]


class AutoChunking(RequestModel):
    type: Literal["auto"]


class StaticSizes(RequestModel):
    max_chunk_size_tokens: Annotated[int, Field(ge=_LEAST_CHUNK, le=_MOST_CHUNK)]
    chunk_overlap_tokens: Annotated[int, Field(ge=0, le=_MOST_CHUNK // 2)]


class StaticChunking(RequestModel):
    type: Literal["static"]
    static: StaticSizes


Chunking = Annotated[AutoChunking | StaticChunking, Field(discriminator="type")] | None


class VectorStoreCreate(RequestModel):
    """The body of `POST /v1/vector_stores`."""

    name: _Name | None = None
    description: Annotated[str, Field(max_length=512)] | None = None
    file_ids: _FileIDs | None = None
    chunking_strategy: Chunking = None
    expires_after: ExpiresAfter | None = None
    metadata: Metadata = None

    def files(self) -> list[FileToAdd]:
        size, overlap = chunk_sizes(self.chunking_strategy, "chunking_strategy")
        return [FileToAdd(file_id, size, overlap) for file_id in self.file_ids or ()]


class VectorStoreUpdate(RequestModel):
    """The body of `POST /v1/vector_stores/{id}`. What is left out stays as it is; null empties it."""

    name: _Name | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Metadata = None

    def changes(self) -> dict[str, Any]:
        """As `VectorStores.update` takes them."""
        values = {
            "name": self.name or "",
            "metadata": self.metadata or {},
            "expires_days": self.expires_after.days if self.expires_after is not None else None,
        }
        given = {"expires_days" if name == "expires_after" else name for name in self.model_fields_set}
        return {name: value for name, value in values.items() if name in given}


class VectorStoreFileCreate(RequestModel):
    """The body of `POST /v1/vector_stores/{id}/files`, and an element of `files` of a batch."""

    file_id: ObjectID
    attributes: Attributes = None
    chunking_strategy: Chunking = None

    def file(self, place: str = "") -> FileToAdd:
        """Raises APIError, 400. `place` begins the names of its fields, such as `files[2].`."""
        sizes = chunk_sizes(self.chunking_strategy, f"{place}chunking_strategy")
        return FileToAdd(self.file_id, *sizes, self.attributes or {})


class VectorStoreFileUpdate(RequestModel):
    """The body of `POST /v1/vector_stores/{id}/files/{file_id}`."""

    attributes: Attributes


class FileBatchCreate(RequestModel):
    """The body of `POST /v1/vector_stores/{id}/file_batches`."""

    file_ids: Annotated[list[ObjectID], Field(min_length=1, max_length=_MOST_IN_BATCH, fail_fast=True)] | None = None
    files: (
        Annotated[list[VectorStoreFileCreate], Field(min_length=1, max_length=_MOST_IN_BATCH, fail_fast=True)] | None
    ) = None
    attributes: Attributes = None
    chunking_strategy: Chunking = None

    def to_add(self) -> list[FileToAdd]:
        """Raises APIError, 400, naming the field."""
        if (self.file_ids is None) == (self.files is None):
            raise invalid_request(
                "Exactly one of 'file_ids' and 'files' has to be given.", "file_ids", "invalid_parameter_combination"
            )
        if self.files is None:
            sizes = chunk_sizes(self.chunking_strategy, "chunking_strategy")
            return [FileToAdd(file_id, *sizes, self.attributes or {}) for file_id in self.file_ids or ()]
        for name in ("attributes", "chunking_strategy"):
            if getattr(self, name) is not None:
                message = f"'{name}' belongs into each of 'files' where these are given."
                raise invalid_request(message, name, "invalid_parameter_combination")
        return [file.file(f"files[{index}].") for index, file in enumerate(self.files)]


class SearchRanking(RequestModel):
    ranker: Literal["none", "auto", "default-2024-11-15"] | None = None
    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = None


class VectorStoreSearch(RequestModel):
    """The body of `POST /v1/vector_stores/{id}/search`."""

    query: _Query | Annotated[list[_Query], Field(min_length=1, max_length=_MOST_QUERIES, fail_fast=True)]
    filters: dict[str, Any] | None = None
    max_num_results: Annotated[int, Field(ge=1, le=50)] | None = None
    ranking_options: SearchRanking | None = None
    rewrite_query: Annotated[Any, refused("Queries are searched for as they are: leave it out.", False)] = None

    def queries(self) -> tuple[list[str], list[str]]:
        """The queries, and what names them in errors."""
        if isinstance(self.query, str):
            return [self.query], ["query"]
        return self.query, [f"query[{index}]" for index in range(len(self.query))]

    @property
    def filter(self) -> Filter | None:
        """Raises APIError, 400, naming the field."""
        return attribute_filter(self.filters, "filters")

    @property
    def threshold(self) -> float:
        return (self.ranking_options.score_threshold or 0.0) if self.ranking_options is not None else 0.0


def chunk_sizes(strategy: Chunking, place: str) -> tuple[int, int]:
    """Tokens of a chunk, and of its overlap with the next. Raises APIError, 400."""
    if not isinstance(strategy, StaticChunking):
        return _DEFAULT_CHUNK, _DEFAULT_OVERLAP
    size, overlap = strategy.static.max_chunk_size_tokens, strategy.static.chunk_overlap_tokens
    if overlap > size // 2:
        param = f"{place}.static.chunk_overlap_tokens"
        raise invalid_request(
            f"Invalid '{param}': chunks of {size} tokens can overlap by at most half of that.", param, "invalid_value"
        )
    return size, overlap
