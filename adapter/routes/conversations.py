"""`/v1/conversations` and their items."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from openai.types.conversations import Conversation as OpenAIConversation
from starlette.requests import Request
from starlette.responses import Response

from adapter.encoding.output_items import new_id
from adapter.errors import APIError, not_found
from adapter.responses.archive import no_conversation
from adapter.responses.preparation import Opener
from adapter.routes.json_answer import json_answer
from adapter.routes.pages import list_object, page_query
from adapter.routes.request_body import documented_body, read_json
from adapter.schema.conversations import (
    ConversationCreate,
    ConversationItemsCreate,
    ConversationUpdate,
    parse_conversation_create,
    parse_conversation_items_create,
    parse_conversation_update,
)
from adapter.schema.response_items import input_items
from adapter.services import Services, services_and_owner
from adapter.store.conversations import Conversation
from adapter.store_failures import store_errors

router = APIRouter(tags=["conversations"])

_PATH = "/v1/conversations/{conversation_id}"


@router.post(
    "/v1/conversations",
    summary="Create a conversation",
    response_class=Response,
    responses={200: {"model": OpenAIConversation}},
    openapi_extra=documented_body(ConversationCreate),
)
async def create_conversation(request: Request) -> Response:
    """Keeps a list of items that responses go on from, and add to."""
    services, owner = services_and_owner(request)
    wanted = parse_conversation_create(await read_json(request))
    items = await _resolved(services, owner, input_items(wanted.items))
    with store_errors():
        made = await services.store.conversations.create(owner, new_id("conv_"), wanted.metadata or {}, items)
    return json_answer(_object(made))


@router.get(
    _PATH,
    summary="Retrieve a conversation",
    response_class=Response,
    responses={200: {"model": OpenAIConversation}},
)
async def retrieve_conversation(request: Request, conversation_id: str) -> Response:
    services, owner = services_and_owner(request)
    with store_errors():
        found = await services.store.conversations.get(owner, conversation_id)
    return json_answer(_object(_there(found, conversation_id)))


@router.post(
    _PATH,
    summary="Update a conversation",
    response_class=Response,
    responses={200: {"model": OpenAIConversation}},
    openapi_extra=documented_body(ConversationUpdate),
)
async def update_conversation(request: Request, conversation_id: str) -> Response:
    """Puts other metadata in the place of its own."""
    services, owner = services_and_owner(request)
    wanted = parse_conversation_update(await read_json(request))
    with store_errors():
        found = await services.store.conversations.update(owner, conversation_id, wanted.metadata or {})
    return json_answer(_object(_there(found, conversation_id)))


@router.delete(_PATH, summary="Delete a conversation", response_class=Response)
async def delete_conversation(request: Request, conversation_id: str) -> Response:
    """With its items. Responses that were made in it stay."""
    services, owner = services_and_owner(request)
    with store_errors():
        gone = await services.store.conversations.delete(owner, conversation_id)
    if not gone:
        raise no_conversation(conversation_id, None)
    return json_answer({"id": conversation_id, "object": "conversation.deleted", "deleted": True})


@router.post(
    _PATH + "/items",
    summary="Add items to a conversation",
    response_class=Response,
    openapi_extra=documented_body(ConversationItemsCreate),
)
async def create_items(request: Request, conversation_id: str) -> Response:
    """All of them, or none."""
    services, owner = services_and_owner(request)
    wanted = parse_conversation_items_create(await read_json(request))
    items = await _resolved(services, owner, input_items(wanted.items))
    with store_errors():
        added = await services.store.conversations.add_items(owner, conversation_id, items)
    if not added:
        raise no_conversation(conversation_id, None)
    return json_answer(list_object(items, has_more=False))


@router.get(_PATH + "/items", summary="List items of a conversation", response_class=Response)
async def list_items(request: Request, conversation_id: str) -> Response:
    """Newest first unless `order=asc`."""
    services, owner = services_and_owner(request)
    query = page_query(request)
    with store_errors():
        page = await services.store.conversations.list_items(
            owner, conversation_id, after=query.after, limit=query.limit, order=query.order
        )
    if page is None:
        raise no_conversation(conversation_id, None)
    return json_answer(list_object(page.entries, page.has_more))


@router.get(_PATH + "/items/{item_id}", summary="Retrieve an item of a conversation", response_class=Response)
async def retrieve_item(request: Request, conversation_id: str, item_id: str) -> Response:
    services, owner = services_and_owner(request)
    with store_errors():
        item = await services.store.conversations.get_item(owner, conversation_id, item_id)
    if item is None:
        raise await _missing(services, owner, conversation_id, item_id)
    return json_answer(item)


@router.delete(_PATH + "/items/{item_id}", summary="Delete an item of a conversation", response_class=Response)
async def delete_item(request: Request, conversation_id: str, item_id: str) -> Response:
    """Returns the conversation without it."""
    services, owner = services_and_owner(request)
    with store_errors():
        found = await services.store.conversations.delete_item(owner, conversation_id, item_id)
    if found is None:
        raise await _missing(services, owner, conversation_id, item_id)
    return json_answer(_object(found))


async def _resolved(services: Services, owner: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A reference to an item elsewhere is a copy of it here."""
    return await Opener(services.archive, services.sealer, owner).resolve(items, {}, param="items")


def _object(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": int(conversation.created_at),
        "metadata": conversation.metadata,
    }


def _there(found: Conversation | None, conversation_id: str) -> Conversation:
    if found is None:
        raise no_conversation(conversation_id, None)
    return found


async def _missing(services: Services, owner: str, conversation_id: str, item_id: str) -> APIError:
    with store_errors():
        known = await services.store.conversations.get(owner, conversation_id)
    if known is None:
        return no_conversation(conversation_id, None)
    return not_found(f"Item with id '{item_id}' not found in conversation '{conversation_id}'.")
