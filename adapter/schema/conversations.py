"""Bodies of `/v1/conversations`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from adapter.schema.body import RequestModel, check
from adapter.schema.metadata import Metadata
from adapter.schema.response_items import InputItem, check_items

_MOST_ITEMS = 20  # at a time, as in OpenAI's API


class ConversationCreate(RequestModel):
    """The body of `POST /v1/conversations`."""

    items: Annotated[list[InputItem], Field(max_length=_MOST_ITEMS, fail_fast=True)] | None = None
    metadata: Metadata = None


class ConversationUpdate(RequestModel):
    """The body of `POST /v1/conversations/{id}`."""

    metadata: Metadata


class ConversationItemsCreate(RequestModel):
    """The body of `POST /v1/conversations/{id}/items`."""

    items: Annotated[list[InputItem], Field(min_length=1, max_length=_MOST_ITEMS, fail_fast=True)]


def parse_conversation_create(body: dict[str, Any]) -> ConversationCreate:
    """Raises APIError, 400, naming the field."""
    request = check(ConversationCreate, body)
    check_items(request.items or (), "items")
    return request


def parse_conversation_update(body: dict[str, Any]) -> ConversationUpdate:
    """Raises APIError, 400, naming the field."""
    return check(ConversationUpdate, body)


def parse_conversation_items_create(body: dict[str, Any]) -> ConversationItemsCreate:
    """Raises APIError, 400, naming the field."""
    request = check(ConversationItemsCreate, body)
    check_items(request.items, "items")
    return request
