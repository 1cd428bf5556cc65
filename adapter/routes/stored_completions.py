"""Chat completions that were stored (`store: true`): list, retrieve, update, delete, and their requests' messages."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from openai.types.chat import ChatCompletion
from starlette.requests import Request
from starlette.responses import Response

from adapter.errors import APIError, not_found
from adapter.routes.json_answer import json_answer
from adapter.routes.pages import list_object, page_query
from adapter.routes.request_body import documented_body, read_json
from adapter.schema.body import check
from adapter.schema.stored_completions import CompletionUpdate
from adapter.services import services_and_owner
from adapter.store_failures import store_errors

router = APIRouter(tags=["chat"])

_PATH = "/v1/chat/completions"


@router.get(_PATH, summary="List stored chat completions", response_class=Response)
async def list_completions(request: Request) -> Response:
    """Oldest first unless `order=desc`; those with `model`, and with `metadata[KEY]=VALUE`, where these are given."""
    services, owner = services_and_owner(request)
    query = page_query(request, order="asc")
    metadata = {
        name[len("metadata[") : -1]: value
        for name, value in request.query_params.items()
        if name.startswith("metadata[") and name.endswith("]")
    }
    with store_errors():
        page = await services.store.completions.list(
            owner,
            after=query.after,
            limit=query.limit,
            order=query.order,
            model=request.query_params.get("model"),
            metadata=metadata,
        )
    return json_answer(list_object(page.entries, page.has_more))


@router.get(
    _PATH + "/{completion_id}",
    summary="Retrieve a stored chat completion",
    response_class=Response,
    responses={200: {"model": ChatCompletion}},
)
async def retrieve_completion(request: Request, completion_id: str) -> Response:
    services, owner = services_and_owner(request)
    with store_errors():
        found = await services.store.completions.get(owner, completion_id)
    return json_answer(_there(found, completion_id))


@router.post(
    _PATH + "/{completion_id}",
    summary="Update a stored chat completion",
    response_class=Response,
    responses={200: {"model": ChatCompletion}},
    openapi_extra=documented_body(CompletionUpdate),
)
async def update_completion(request: Request, completion_id: str) -> Response:
    """Puts other metadata in the place of its own."""
    services, owner = services_and_owner(request)
    wanted = check(CompletionUpdate, await read_json(request))
    with store_errors():
        found = await services.store.completions.update_metadata(owner, completion_id, wanted.metadata or {})
    return json_answer(_there(found, completion_id))


@router.delete(_PATH + "/{completion_id}", summary="Delete a stored chat completion", response_class=Response)
async def delete_completion(request: Request, completion_id: str) -> Response:
    services, owner = services_and_owner(request)
    with store_errors():
        gone = await services.store.completions.delete(owner, completion_id)
    if not gone:
        raise _no_completion(completion_id)
    return json_answer({"id": completion_id, "object": "chat.completion.deleted", "deleted": True})


@router.get(
    _PATH + "/{completion_id}/messages", summary="List messages of a stored chat completion", response_class=Response
)
async def list_messages(request: Request, completion_id: str) -> Response:
    """The messages of its request, oldest first unless `order=desc`."""
    services, owner = services_and_owner(request)
    query = page_query(request, order="asc")
    with store_errors():
        page = await services.store.completions.messages(
            owner, completion_id, after=query.after, limit=query.limit, order=query.order
        )
    if page is None:
        raise _no_completion(completion_id)
    return json_answer(list_object(page.entries, page.has_more))


def _there(found: dict[str, Any] | None, completion_id: str) -> dict[str, Any]:
    if found is None:
        raise _no_completion(completion_id)
    return found


def _no_completion(completion_id: str) -> APIError:
    """404, as OpenAI words it."""
    return not_found(f"Chat completion with id '{completion_id}' not found.")
