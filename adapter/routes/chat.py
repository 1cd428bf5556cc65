"""`POST /v1/chat/completions`."""

from __future__ import annotations

import secrets
import time

from fastapi import APIRouter
from openai.types.chat import ChatCompletion
from starlette.requests import Request
from starlette.responses import Response

from adapter.encoding.chat_chunks import ChatChunkEncoder
from adapter.encoding.chat_completion import ChatCompletionFold
from adapter.generation.generation import Generation
from adapter.generation.prompt import chat_prompt
from adapter.request_context import context_of
from adapter.routes.generation_response import FoldedGeneration, StreamedGeneration
from adapter.routes.request_body import documented_body, read_json
from adapter.schema.chat import ChatCompletionRequest, parse_chat_request, sampling_of
from adapter.schema.chat_messages import template_messages
from adapter.services import services_of
from adapter.settings import StreamUsage
from adapter.triton.model import Kind

router = APIRouter(tags=["chat"])


@router.post(
    "/v1/chat/completions",
    summary="Create a chat completion",
    response_class=Response,
    responses={200: {"model": ChatCompletion}},
    openapi_extra=documented_body(ChatCompletionRequest),
)
async def create_chat_completion(request: Request) -> Response:
    """Answers a conversation, in one piece or streamed as server-sent events."""
    services = services_of(request)
    wanted = parse_chat_request(await read_json(request))
    model = await services.registry.get(wanted.model, Kind.CHAT)
    context_of(request.scope).fields["model"] = model.id
    prompt = await chat_prompt(model, template_messages(wanted.messages))
    timeout = services.settings.request_timeout
    generation = Generation(
        services.channel,
        model,
        "chatcmpl-" + secrets.token_hex(16),
        prompt,
        sampling_of(wanted),
        streaming=bool(wanted.stream),
        timeout=timeout,
    )
    created = int(time.time())
    if wanted.stream:
        usage = _stream_usage(wanted, services.settings.stream_usage)
        encoder = ChatChunkEncoder(model, generation.id, created, generation.prompt_tokens, usage)
        return StreamedGeneration(generation, encoder, timeout)
    fold = ChatCompletionFold(model, generation.id, created)
    return FoldedGeneration(generation, fold, lambda: fold.body(logprobs=bool(wanted.logprobs)), timeout)


def _stream_usage(wanted: ChatCompletionRequest, default: StreamUsage) -> StreamUsage:
    if wanted.stream_options is None:
        return default
    return StreamUsage.FINAL if wanted.stream_options.include_usage else StreamUsage.NONE
