"""`POST /v1/tokenize` and `POST /v1/detokenize`, for models of every kind."""

from __future__ import annotations

import asyncio
from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from adapter.errors import invalid_request
from adapter.generation.media_parts import MediaParts
from adapter.generation.prompt import Conversation, chat_prompt
from adapter.request_context import context_of
from adapter.routes.chat_files import read_chat_files
from adapter.routes.request_body import documented_body, read_json
from adapter.schema.chat_messages import template_messages
from adapter.schema.chat_tools import tool_use
from adapter.schema.tokenize import (
    DetokenizeRequest,
    TokenizeRequest,
    parse_detokenize_request,
    parse_tokenize_request,
)
from adapter.services import Services, services_of
from adapter.triton.model import ServedModel

router = APIRouter(tags=["tokenize"])


@router.post(
    "/v1/tokenize",
    summary="Token ids of a text or a chat",
    response_class=JSONResponse,
    openapi_extra=documented_body(TokenizeRequest),
)
async def tokenize(request: Request) -> Response:
    """The very tokens that a completion of this prompt, or of these messages, begins with."""
    wanted = parse_tokenize_request(await read_json(request))
    services = services_of(request)
    model = await services.registry.get(wanted.model)
    context_of(request.scope).fields["model"] = model.id
    if wanted.messages is not None:
        tokens = await _chat_tokens(services, context_of(request.scope).key_id or "", model, wanted)
    else:
        assert wanted.prompt is not None
        # A batch of one: the library lets other threads run only while it works on a batch.
        (tokens,) = await asyncio.to_thread(
            model.tokenizer.encode_batch, [wanted.prompt], add_special_tokens=wanted.add_special_tokens is not False
        )
    strings = (
        [model.tokenizer.visible_token(token, frozenset()) for token in tokens] if wanted.return_token_strs else None
    )
    answer = {"count": len(tokens), "max_model_len": model.context_length, "tokens": tokens, "token_strs": strings}
    return JSONResponse(answer)


async def _chat_tokens(services: Services, owner: str, model: ServedModel, wanted: TokenizeRequest) -> list[int]:
    assert wanted.messages is not None
    file_content = partial(services.archive.file, owner)
    messages = await read_chat_files(wanted.messages, services.media, services.media.budget(), file_content)
    tools = tool_use(wanted.tools, None, None, None, None)
    conversation = Conversation(
        template_messages(messages, MediaParts(frozenset())),
        tools=tools.definitions if tools is not None else (),
        variables=wanted.chat_template_kwargs or {},
        add_generation_prompt=wanted.add_generation_prompt is not False,
    )
    tokens, _ = await chat_prompt(model, conversation)
    return tokens


@router.post(
    "/v1/detokenize",
    summary="The text of token ids",
    response_class=JSONResponse,
    openapi_extra=documented_body(DetokenizeRequest),
)
async def detokenize(request: Request) -> Response:
    """Special tokens are part of the text."""
    wanted = parse_detokenize_request(await read_json(request))
    model = await services_of(request).registry.get(wanted.model)
    context_of(request.scope).fields["model"] = model.id
    largest = max(wanted.tokens)
    if largest >= model.tokenizer.vocab_size:
        param = f"tokens[{wanted.tokens.index(largest)}]"
        message = (
            f"Invalid '{param}': {largest} is no token of this model, which has {model.tokenizer.vocab_size} tokens."
        )
        raise invalid_request(message, param, "invalid_value")
    text = await asyncio.to_thread(model.tokenizer.decode, wanted.tokens, skip_special_tokens=False)
    return JSONResponse({"prompt": text})
