"""`POST /v1/chat/completions`."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from functools import partial

from fastapi import APIRouter
from openai.types.chat import ChatCompletion
from starlette.requests import Request
from starlette.responses import Response

from adapter.encoding.chat_chunks import ChatChunkEncoder
from adapter.encoding.chat_completion import ChatCompletionFold
from adapter.encoding.chat_form import ChatForm
from adapter.encoding.kept_stream import KeptStream
from adapter.generation.chat_plan import plan_chat
from adapter.generation.choices import Choices
from adapter.generation.generation import Generation
from adapter.generation.instructed import instructed
from adapter.generation.media_parts import media_parts
from adapter.generation.prompt import Conversation
from adapter.request_context import context_of
from adapter.routes.chat_files import read_chat_files
from adapter.routes.generation_response import FoldedGeneration, StreamedGeneration
from adapter.routes.request_body import documented_body, read_json
from adapter.schema.chat import ChatCompletionRequest, parse_chat_request, sampling_of
from adapter.schema.chat_messages import template_messages
from adapter.schema.stream_options import stream_usage
from adapter.schema.verbosity import verbosity_instruction
from adapter.services import services_of
from adapter.store_failures import store_errors
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
    tools = wanted.tool_use()
    model = await services.registry.get(wanted.model, Kind.CHAT)
    context = context_of(request.scope)
    context.fields["model"] = model.id
    media = media_parts(model)
    budget = services.media.budget()
    messages = await read_chat_files(
        wanted.messages, services.media, budget, partial(services.archive.file, context.key_id or "")
    )
    conversation = Conversation(
        instructed(template_messages(messages, media), verbosity_instruction(wanted.verbosity)),
        variables=wanted.chat_template_kwargs or {},
        add_generation_prompt=wanted.add_generation_prompt is not False,
        continue_final=bool(wanted.continue_final_message),
        media=media,
    )
    plan = await plan_chat(model, conversation, tools, wanted.answer_schema, wanted.reasoning_effort)
    loaded = await media.load(services.media, budget) if media.parts else []
    sampling = replace(
        sampling_of(wanted),
        guide=plan.guide,
        cache_scope=context.key_id or "",
        media=tuple(medium.data for medium in loaded),
    )
    timeout = services.settings.request_timeout
    completion_id = "chatcmpl-" + secrets.token_hex(16)
    count = wanted.n or 1
    choices = Choices(
        [
            Generation(
                services.channel,
                model,
                completion_id if count == 1 else f"{completion_id}-{index}",
                plan.prompt,
                sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + index),
                streaming=bool(wanted.stream),
                timeout=timeout,
                reading=plan.reading(),
            )
            for index in range(count)
        ]
    )
    created = int(time.time())
    form = ChatForm(
        logprobs=bool(wanted.logprobs),
        legacy_function=tools is not None and tools.legacy,
        reasoning_field=services.settings.reasoning_field,
        service_tier=None if wanted.service_tier is None else "default",
    )
    fold = ChatCompletionFold(model, completion_id, created, form, choices=count)

    async def keep() -> None:
        body = fold.completion(choices.prompt_tokens)
        messages = [message.model_dump(exclude_unset=True) for message in wanted.messages]
        with store_errors():
            await services.store.completions.insert(context.key_id or "", body, messages, wanted.metadata or {})

    kept = keep if wanted.store else None
    if not wanted.stream:
        return FoldedGeneration(choices, fold, timeout, kept)
    options = wanted.stream_options
    encoder = ChatChunkEncoder(
        model,
        completion_id,
        created,
        stream_usage(options, services.settings.stream_usage),
        form,
        choices=count,
        obfuscation=options is not None and bool(options.include_obfuscation),
    )
    return StreamedGeneration(choices, KeptStream(encoder, fold) if wanted.store else encoder, timeout, kept)
