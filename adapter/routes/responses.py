"""`/v1/responses`: create, retrieve, delete, cancel, and the items that one was made from."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from openai.types.responses import Response as OpenAIResponse
from starlette.requests import Request
from starlette.responses import Response

from adapter.errors import APIError, invalid_request, not_found
from adapter.request_context import RequestContext, context_of
from adapter.responses.making import make_response
from adapter.routes.json_answer import json_answer
from adapter.routes.pages import page_of, page_query
from adapter.routes.query import query_flag, query_number
from adapter.routes.request_body import documented_body, read_json
from adapter.routes.response_answers import StreamedResponse, WholeResponse
from adapter.schema.responses import ResponseRequest, parse_response_request
from adapter.services import Services, services_of
from adapter.store.record import Record

router = APIRouter(tags=["responses"])

_CANCEL_WITHIN = 10.0  # seconds that a cancelled response has to end
_POLL_EVERY = 0.1


@router.post(
    "/v1/responses",
    summary="Create a response",
    response_class=Response,
    responses={200: {"model": OpenAIResponse}},
    openapi_extra=documented_body(ResponseRequest),
)
async def create_response(request: Request) -> Response:
    """Answers its input, in one piece, streamed, or in the background."""
    services = services_of(request)
    wanted = parse_response_request(await read_json(request))
    context = context_of(request.scope)
    owner = context.key_id or ""
    timeout = services.settings.request_timeout
    if wanted.background:
        return await _in_background(services, context, wanted)
    recording = await make_response(services, owner, wanted)
    context.fields |= {"model": recording.ask.model.id, "response": recording.ask.response_id}
    if wanted.stream:
        return StreamedResponse(recording.events(), timeout, lambda: recording.waiting, recording.cancel)
    return WholeResponse(recording, timeout)


async def _in_background(services: Services, context: RequestContext, wanted: ResponseRequest) -> Response:
    owner = context.key_id or ""
    with services.runs.room():
        recording = await make_response(services, owner, wanted, background=True)
        context.fields |= {"model": recording.ask.model.id, "response": recording.ask.response_id}
        queued = await recording.queue()
        services.runs.run_in_background(recording)
    if not wanted.stream:
        return json_answer(queued)
    # The client may leave: the response goes on.
    events = services.runs.follow(owner, recording.ask.response_id, -1)
    timeout = services.settings.background_timeout
    return StreamedResponse(events, timeout, lambda: False, None)


@router.get(
    "/v1/responses/{response_id}",
    summary="Retrieve a response",
    response_class=Response,
    responses={200: {"model": OpenAIResponse}},
)
async def retrieve_response(request: Request, response_id: str) -> Response:
    """The response as it is now, or with `stream=true` its events after `starting_after`, those to come included."""
    services = services_of(request)
    owner = context_of(request.scope).key_id or ""
    record = await _record(services, owner, response_id)
    if not query_flag(request, "stream"):
        if "starting_after" in request.query_params:
            raise invalid_request("'starting_after' is only allowed with 'stream=true'.", "starting_after")
        live = services.runs.live(owner, response_id)
        if live is not None and live.writer.body["status"] not in ("queued", "in_progress"):
            await live.done.wait()  # who reads the end finds the record
            record, live = await _record(services, owner, response_id), None
        return json_answer(record.body if live is None else live.writer.body)
    after = query_number(request, "starting_after", default=-1, least=-1)
    if not record.running and record.last_event < 0:
        raise invalid_request(
            f"The response '{response_id}' has no stream: it was made with neither 'stream' nor 'background'.",
            "stream",
            "no_stream",
        )
    events = services.runs.follow(owner, response_id, after)
    return StreamedResponse(events, services.settings.background_timeout, lambda: False, None)


@router.delete("/v1/responses/{response_id}", summary="Delete a response", response_class=Response)
async def delete_response(request: Request, response_id: str) -> Response:
    """One that runs is cancelled."""
    services = services_of(request)
    owner = context_of(request.scope).key_id or ""
    live = services.runs.live(owner, response_id)
    if not await services.archive.delete(owner, response_id):
        raise no_response(response_id)
    if live is not None:
        live.cancel()
    return json_answer({"id": response_id, "object": "response", "deleted": True})


@router.post("/v1/responses/{response_id}/cancel", summary="Cancel a response", response_class=Response)
async def cancel_response(request: Request, response_id: str) -> Response:
    """Of one in the background, whichever process makes it; one that has ended stays as it is."""
    services = services_of(request)
    owner = context_of(request.scope).key_id or ""
    record = await _record(services, owner, response_id)
    if not record.background:
        raise invalid_request("Cannot cancel a synchronous response.", None, "response_not_cancellable")
    if record.running:
        await services.archive.request_cancel(owner, response_id)
        live = services.runs.live(owner, response_id)
        if live is not None:
            live.cancel()
        loop = asyncio.get_running_loop()
        until = loop.time() + _CANCEL_WITHIN
        while record.running and loop.time() < until:
            await asyncio.sleep(_POLL_EVERY)
            record = await _record(services, owner, response_id)
    return json_answer(record.body)


@router.get("/v1/responses/{response_id}/input_items", summary="List input items", response_class=Response)
async def list_input_items(request: Request, response_id: str) -> Response:
    """The items of its request, newest first unless `order=asc`."""
    services = services_of(request)
    page = page_query(request)
    record = await _record(services, context_of(request.scope).key_id or "", response_id)
    return json_answer(page_of(record.input_items, page))


async def _record(services: Services, owner: str, response_id: str) -> Record:
    record = await services.archive.get(owner, response_id)
    if record is None:
        raise no_response(response_id)
    return record


def no_response(response_id: str) -> APIError:
    """404, as OpenAI words it."""
    return not_found(f"Response with id '{response_id}' not found.")
