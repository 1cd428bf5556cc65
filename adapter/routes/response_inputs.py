"""`/v1/responses/input_tokens` and `/v1/responses/compact`: what an input comes to, without an answer to it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from openai.types.responses import CompactedResponse, InputTokenCountResponse
from starlette.requests import Request
from starlette.responses import Response

from adapter.request_context import context_of
from adapter.responses.compaction import compact
from adapter.responses.making import count_input_tokens
from adapter.routes.request_body import documented_body, read_json
from adapter.routes.response_answers import WorkedAnswer
from adapter.schema.responses import (
    CompactRequest,
    InputTokensRequest,
    parse_compact_request,
    parse_input_tokens_request,
    response_request_of,
)
from adapter.services import services_of

router = APIRouter(tags=["responses"])


@router.post(
    "/v1/responses/input_tokens",
    summary="Count input tokens",
    response_class=Response,
    responses={200: {"model": InputTokenCountResponse}},
    openapi_extra=documented_body(InputTokensRequest),
)
async def count_tokens(request: Request) -> Response:
    """Tokens of the prompt that a response with this input would begin with."""
    wanted = parse_input_tokens_request(await read_json(request))
    owner = context_of(request.scope).key_id or ""
    services = services_of(request)

    async def counted() -> dict[str, Any]:
        count = await count_input_tokens(services, owner, response_request_of(wanted))
        return {"object": "response.input_tokens", "input_tokens": count}

    return WorkedAnswer(counted(), services.settings.request_timeout)


@router.post(
    "/v1/responses/compact",
    summary="Compact a conversation",
    response_class=Response,
    responses={200: {"model": CompactedResponse}},
    openapi_extra=documented_body(CompactRequest),
)
async def compact_conversation(request: Request) -> Response:
    """The user's messages and one item with the rest, to be sent as the input of a response."""
    wanted = parse_compact_request(await read_json(request))
    services = services_of(request)
    work = compact(services, context_of(request.scope).key_id or "", wanted)
    return WorkedAnswer(work, services.settings.request_timeout)
