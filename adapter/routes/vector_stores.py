"""`/v1/vector_stores`, and search in them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from openai.types import VectorStore as OpenAIVectorStore
from starlette.requests import Request
from starlette.responses import Response

from adapter.encoding.output_items import new_id
from adapter.retrieval.search import Found, no_vector_store
from adapter.routes.json_answer import json_answer
from adapter.routes.pages import list_object, page_query
from adapter.routes.request_body import documented_body, read_json
from adapter.routes.vector_store_errors import vector_store_errors
from adapter.schema.body import check
from adapter.schema.vector_stores import DEFAULT_RESULTS, VectorStoreCreate, VectorStoreSearch, VectorStoreUpdate
from adapter.services import services_and_owner
from adapter.store.vector_stores import VectorStore
from adapter.store_failures import store_errors

router = APIRouter(tags=["vector stores"])

_PATH = "/v1/vector_stores"
_ONE = _PATH + "/{vector_store_id}"
_OBJECT: dict[int | str, dict[str, Any]] = {200: {"model": OpenAIVectorStore}}


@router.post(
    _PATH,
    summary="Create a vector store",
    response_class=Response,
    responses=_OBJECT,
    openapi_extra=documented_body(VectorStoreCreate),
)
async def create_vector_store(request: Request) -> Response:
    """Its files are processed in the background."""
    services, owner = services_and_owner(request)
    wanted = check(VectorStoreCreate, await read_json(request))
    files = wanted.files()
    model = await services.embedder.default_model()
    vector_store_id = new_id("vs_")
    stores = services.store.vector_stores
    with vector_store_errors("file_ids"):
        made = await stores.create(
            owner,
            vector_store_id,
            name=wanted.name or "",
            description=wanted.description,
            model=model.id,
            dimensions=model.dimensions,
            metadata=wanted.metadata or {},
            expires_days=wanted.expires_after.days if wanted.expires_after is not None else None,
        )
        if files:
            try:
                await services.store.vector_store_files.add(owner, vector_store_id, files)
            except BaseException:
                await stores.delete(owner, vector_store_id)
                raise
            services.ingestion.wake()
            made = await stores.get(owner, vector_store_id) or made
    return json_answer(_object(made))


@router.get(_PATH, summary="List vector stores", response_class=Response)
async def list_vector_stores(request: Request) -> Response:
    """Newest first unless `order=asc`."""
    services, owner = services_and_owner(request)
    query = page_query(request)
    with store_errors():
        page = await services.store.vector_stores.list(
            owner,
            after=query.after,
            before=request.query_params.get("before"),
            limit=query.limit,
            order=query.order,
        )
    return json_answer(list_object([_object(entry) for entry in page.entries], page.has_more))


@router.get(_ONE, summary="Retrieve a vector store", response_class=Response, responses=_OBJECT)
async def retrieve_vector_store(request: Request, vector_store_id: str) -> Response:
    services, owner = services_and_owner(request)
    with store_errors():
        found = await services.store.vector_stores.get(owner, vector_store_id)
    return json_answer(_object(_there(found, vector_store_id)))


@router.post(
    _ONE,
    summary="Update a vector store",
    response_class=Response,
    responses=_OBJECT,
    openapi_extra=documented_body(VectorStoreUpdate),
)
async def update_vector_store(request: Request, vector_store_id: str) -> Response:
    """What is left out stays as it is."""
    services, owner = services_and_owner(request)
    wanted = check(VectorStoreUpdate, await read_json(request))
    with store_errors():
        found = await services.store.vector_stores.update(owner, vector_store_id, wanted.changes())
    return json_answer(_object(_there(found, vector_store_id)))


@router.delete(_ONE, summary="Delete a vector store", response_class=Response)
async def delete_vector_store(request: Request, vector_store_id: str) -> Response:
    """The files that were in it stay."""
    services, owner = services_and_owner(request)
    with store_errors():
        gone = await services.store.vector_stores.delete(owner, vector_store_id)
    if not gone:
        raise no_vector_store(vector_store_id)
    return json_answer({"id": vector_store_id, "object": "vector_store.deleted", "deleted": True})


@router.post(
    _ONE + "/search",
    summary="Search in a vector store",
    response_class=Response,
    openapi_extra=documented_body(VectorStoreSearch),
)
async def search_vector_store(request: Request, vector_store_id: str) -> Response:
    """The chunks of files that are nearest in meaning to the query, or to any of several."""
    services, owner = services_and_owner(request)
    wanted = check(VectorStoreSearch, await read_json(request))
    filters = wanted.filter
    queries, params = wanted.queries()
    vector_stores = await services.vector_search.stores(owner, [vector_store_id], None)
    found = await services.vector_search.search(
        owner,
        vector_stores,
        queries,
        filters=filters,
        most=wanted.max_num_results or DEFAULT_RESULTS,
        threshold=wanted.threshold,
        params=params,
    )
    return json_answer(
        {
            "object": "vector_store.search_results.page",
            "search_query": queries,
            "data": [_result(one) for one in found],
            "has_more": False,
            "next_page": None,
        }
    )


def _there(found: VectorStore | None, vector_store_id: str) -> VectorStore:
    if found is None:
        raise no_vector_store(vector_store_id)
    return found


def _object(found: VectorStore) -> dict[str, Any]:
    days = found.expires_days
    return {
        "id": found.id,
        "object": "vector_store",
        "created_at": int(found.created_at),
        "name": found.name,
        "description": found.description,
        "usage_bytes": found.bytes,
        "file_counts": file_counts(found.counts),
        "status": "in_progress" if found.counts.get("in_progress") else "completed",
        "expires_after": None if days is None else {"anchor": "last_active_at", "days": days},
        "expires_at": None if found.expires_at is None else int(found.expires_at),
        "last_active_at": int(found.used_at),
        "metadata": found.metadata,
    }


def file_counts(counts: Any) -> dict[str, int]:
    by_status = {status: counts.get(status, 0) for status in ("in_progress", "completed", "failed", "cancelled")}
    return {**by_status, "total": sum(by_status.values())}


def _result(found: Found) -> dict[str, Any]:
    return {
        "file_id": found.file_id,
        "filename": found.filename,
        "score": found.score,
        "attributes": found.attributes,
        "content": [{"type": "text", "text": found.text}],
    }
