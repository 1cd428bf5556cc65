"""The files of a vector store, one by one and in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from openai.types.vector_stores import VectorStoreFile as OpenAIFile
from openai.types.vector_stores import VectorStoreFileBatch as OpenAIBatch
from starlette.requests import Request
from starlette.responses import Response

from adapter.encoding.output_items import new_id
from adapter.errors import APIError, invalid_request, not_found
from adapter.retrieval.search import no_vector_store
from adapter.routes.json_answer import json_answer
from adapter.routes.pages import list_object, page_query
from adapter.routes.request_body import documented_body, read_json
from adapter.routes.vector_store_errors import vector_store_errors
from adapter.routes.vector_stores import file_counts
from adapter.schema.body import check
from adapter.schema.vector_stores import FileBatchCreate, VectorStoreFileCreate, VectorStoreFileUpdate
from adapter.schema.violations import not_supported
from adapter.services import Services, services_and_owner
from adapter.store.vector_store_files import Batch, FileToAdd, VectorStoreFile
from adapter.store_failures import store_errors

router = APIRouter(tags=["vector stores"])

_FILES = "/v1/vector_stores/{vector_store_id}/files"
_FILE = _FILES + "/{file_id}"
_BATCHES = "/v1/vector_stores/{vector_store_id}/file_batches"
_BATCH = _BATCHES + "/{batch_id}"
_FILE_OBJECT: dict[int | str, dict[str, Any]] = {200: {"model": OpenAIFile}}
_BATCH_OBJECT: dict[int | str, dict[str, Any]] = {200: {"model": OpenAIBatch}}
_STATUSES = ["in_progress", "completed", "failed", "cancelled"]
_POLL = {"openai-poll-after-ms": "250"}  # what OpenAI's clients wait between two looks


@router.post(
    _FILES,
    summary="Put a file into a vector store",
    response_class=Response,
    responses=_FILE_OBJECT,
    openapi_extra=documented_body(VectorStoreFileCreate),
)
async def create_vector_store_file(request: Request, vector_store_id: str) -> Response:
    """It is processed in the background; one that is in it already, anew."""
    services, owner = services_and_owner(request)
    wanted = check(VectorStoreFileCreate, await read_json(request))
    await _add(services, owner, vector_store_id, [wanted.file()], None, "file_id")
    return json_answer(await _file(services, owner, vector_store_id, wanted.file_id))


@router.get(_FILES, summary="List files of a vector store", response_class=Response)
async def list_vector_store_files(request: Request, vector_store_id: str) -> Response:
    """Newest first unless `order=asc`; those of one status, with `filter`."""
    services, owner = services_and_owner(request)
    return json_answer(await _page(request, services, owner, vector_store_id, None))


@router.get(_FILE, summary="Retrieve a file of a vector store", response_class=Response, responses=_FILE_OBJECT)
async def retrieve_vector_store_file(request: Request, vector_store_id: str, file_id: str) -> Response:
    services, owner = services_and_owner(request)
    return _polled(await _file(services, owner, vector_store_id, file_id))


@router.post(
    _FILE,
    summary="Update the attributes of a file of a vector store",
    response_class=Response,
    responses=_FILE_OBJECT,
    openapi_extra=documented_body(VectorStoreFileUpdate),
)
async def update_vector_store_file(request: Request, vector_store_id: str, file_id: str) -> Response:
    """Puts other attributes in the place of its own."""
    services, owner = services_and_owner(request)
    wanted = check(VectorStoreFileUpdate, await read_json(request))
    with store_errors():
        found = await services.store.vector_store_files.update_attributes(
            owner, vector_store_id, file_id, wanted.attributes or {}
        )
    if found is None:
        raise await _missing(services, owner, vector_store_id, file_id)
    return json_answer(_file_object(found))


@router.delete(_FILE, summary="Take a file out of a vector store", response_class=Response)
async def delete_vector_store_file(request: Request, vector_store_id: str, file_id: str) -> Response:
    """The file itself stays."""
    services, owner = services_and_owner(request)
    with store_errors():
        gone = await services.store.vector_store_files.delete(owner, vector_store_id, file_id)
    if not gone:
        raise await _missing(services, owner, vector_store_id, file_id)
    return json_answer({"id": file_id, "object": "vector_store.file.deleted", "deleted": True})


@router.get(_FILE + "/content", summary="Retrieve the text of a file of a vector store", response_class=Response)
async def retrieve_vector_store_file_content(request: Request, vector_store_id: str, file_id: str) -> Response:
    """The text as it was taken from the file."""
    services, owner = services_and_owner(request)
    found = await _file(services, owner, vector_store_id, file_id)
    if found["status"] != "completed":
        message = f"The file '{file_id}' has no text here: its status is '{found['status']}'."
        raise invalid_request(message, "file_id", "file_not_completed")
    with store_errors():
        text = await services.store.vector_chunks.content(owner, vector_store_id, file_id)
    return json_answer(
        {
            "object": "vector_store.file_content.page",
            "data": [{"type": "text", "text": text}],
            "has_more": False,
            "next_page": None,
        }
    )


@router.post(
    _BATCHES,
    summary="Put files into a vector store",
    response_class=Response,
    responses=_BATCH_OBJECT,
    openapi_extra=documented_body(FileBatchCreate),
)
async def create_file_batch(request: Request, vector_store_id: str) -> Response:
    """All of them, or none. They are processed in the background."""
    services, owner = services_and_owner(request)
    wanted = check(FileBatchCreate, await read_json(request))
    batch_id = new_id("vsfb_")
    param = "file_ids" if wanted.files is None else "files"
    await _add(services, owner, vector_store_id, wanted.to_add(), batch_id, param)
    return json_answer(await _batch(services, owner, vector_store_id, batch_id))


@router.get(_BATCH, summary="Retrieve a batch of files", response_class=Response, responses=_BATCH_OBJECT)
async def retrieve_file_batch(request: Request, vector_store_id: str, batch_id: str) -> Response:
    services, owner = services_and_owner(request)
    return _polled(await _batch(services, owner, vector_store_id, batch_id))


@router.post(_BATCH + "/cancel", summary="Cancel a batch of files", response_class=Response, responses=_BATCH_OBJECT)
async def cancel_file_batch(request: Request, vector_store_id: str, batch_id: str) -> Response:
    """What is processed already stays."""
    services, owner = services_and_owner(request)
    with store_errors():
        found = await services.store.vector_store_files.cancel_batch(owner, vector_store_id, batch_id)
    if found is None:
        raise await _no_batch(services, owner, vector_store_id, batch_id)
    return json_answer(_batch_object(found))


@router.get(_BATCH + "/files", summary="List files of a batch", response_class=Response)
async def list_batch_files(request: Request, vector_store_id: str, batch_id: str) -> Response:
    """Newest first unless `order=asc`; those of one status, with `filter`."""
    services, owner = services_and_owner(request)
    await _batch(services, owner, vector_store_id, batch_id)
    return json_answer(await _page(request, services, owner, vector_store_id, batch_id))


async def _add(
    services: Services,
    owner: str,
    vector_store_id: str,
    files: Sequence[FileToAdd],
    batch_id: str | None,
    param: str,
) -> None:
    with vector_store_errors(param):
        added = await services.store.vector_store_files.add(owner, vector_store_id, files, batch_id=batch_id)
    if not added:
        raise no_vector_store(vector_store_id)
    services.ingestion.wake()


async def _page(
    request: Request, services: Services, owner: str, vector_store_id: str, batch_id: str | None
) -> dict[str, Any]:
    query = page_query(request)
    status = request.query_params.get("filter")
    if status is not None and status not in _STATUSES:
        raise not_supported("filter", status, _STATUSES)
    with store_errors():
        if await services.store.vector_stores.get(owner, vector_store_id) is None:
            raise no_vector_store(vector_store_id)
        page = await services.store.vector_store_files.list(
            owner,
            vector_store_id,
            batch_id=batch_id,
            status=status,
            after=query.after,
            before=request.query_params.get("before"),
            limit=query.limit,
            order=query.order,
        )
    return list_object([_file_object(file) for file in page.entries], page.has_more)


async def _file(services: Services, owner: str, vector_store_id: str, file_id: str) -> dict[str, Any]:
    with store_errors():
        found = await services.store.vector_store_files.get(owner, vector_store_id, file_id)
    if found is None:
        raise await _missing(services, owner, vector_store_id, file_id)
    return _file_object(found)


async def _batch(services: Services, owner: str, vector_store_id: str, batch_id: str) -> dict[str, Any]:
    with store_errors():
        found = await services.store.vector_store_files.get_batch(owner, vector_store_id, batch_id)
    if found is None:
        raise await _no_batch(services, owner, vector_store_id, batch_id)
    return _batch_object(found)


async def _missing(services: Services, owner: str, vector_store_id: str, file_id: str) -> APIError:
    with store_errors():
        known = await services.store.vector_stores.get(owner, vector_store_id)
    if known is None:
        return no_vector_store(vector_store_id)
    return not_found(f"No file found with id '{file_id}' in vector store '{vector_store_id}'.")


async def _no_batch(services: Services, owner: str, vector_store_id: str, batch_id: str) -> APIError:
    with store_errors():
        known = await services.store.vector_stores.get(owner, vector_store_id)
    if known is None:
        return no_vector_store(vector_store_id)
    return not_found(f"No file batch found with id '{batch_id}' in vector store '{vector_store_id}'.")


def _polled(found: dict[str, Any]) -> Response:
    answer = json_answer(found)
    answer.headers.update(_POLL)
    return answer


def _file_object(file: VectorStoreFile) -> dict[str, Any]:
    error = file.error
    return {
        "id": file.file_id,
        "object": "vector_store.file",
        "created_at": int(file.created_at),
        "vector_store_id": file.vector_store_id,
        "status": file.status,
        "last_error": None if error is None else {"code": error[0], "message": error[1]},
        "usage_bytes": file.bytes,
        "attributes": file.attributes,
        "chunking_strategy": {
            "type": "static",
            "static": {
                "max_chunk_size_tokens": file.chunk_tokens,
                "chunk_overlap_tokens": file.overlap_tokens,
            },
        },
    }


def _batch_object(batch: Batch) -> dict[str, Any]:
    if batch.counts.get("in_progress"):
        status = "in_progress"
    elif batch.cancelled:
        status = "cancelled"
    else:
        status = "completed"
    return {
        "id": batch.id,
        "object": "vector_store.files_batch",
        "created_at": int(batch.created_at),
        "vector_store_id": batch.vector_store_id,
        "status": status,
        "file_counts": file_counts(batch.counts),
    }
