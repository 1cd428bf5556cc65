"""A request for a response, made ready to run: over HTTP, over a WebSocket, and in the background alike."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from adapter.encoding.output_items import new_id
from adapter.encoding.response_object import response_object
from adapter.encoding.response_writer import ResponseWriter
from adapter.generation.item_files import read_item_files
from adapter.responses.ask import Ask
from adapter.responses.memory import Memory
from adapter.responses.preparation import REASONING, Opener, calls_to_run
from adapter.responses.recording import Recording
from adapter.responses.response_services import ResponseServices
from adapter.responses.turn import Backend
from adapter.responses.turns import Turns
from adapter.schema.response_items import input_items
from adapter.schema.responses import ResponseRequest, response_sampling
from adapter.tools.toolboxes import toolboxes
from adapter.triton.model import Kind

Item = dict[str, Any]

_SEALED_REASONING = "reasoning.encrypted_content"


async def make_response(
    services: ResponseServices,
    owner: str,
    request: ResponseRequest,
    *,
    memory: Memory | None = None,
    generate: bool = True,
    background: bool = False,
) -> Recording:
    """A response about to run. Its conversation, if it has one, is locked until it ends.

    Args:
        owner: id of the API key, "" without keys.
        memory: responses that can be gone on from although they are not stored.
        generate: False: the request becomes a response that can be gone on from, without an answer.

    Raises:
        APIError: the request cannot be served; the field is named.
    """
    response_id = new_id("resp_")
    with services.runs.hold(response_id):
        ask = await _ask(services, owner, request, memory, response_id)
        try:
            writer, turns = _begin(services, ask, generate=generate, background=background)
            await turns.prepare()
        except BaseException:
            await services.archive.unlock(owner, ask.conversation_id, ask.response_id)
            raise
    return Recording(
        ask,
        turns,
        writer,
        services.archive,
        stored=request.stored,
        logged=request.stored and (bool(request.stream) or background),
        queued=background,
        spawn=services.runs.spawn,
        enter=services.runs.enter,
    )


async def count_input_tokens(services: ResponseServices, owner: str, request: ResponseRequest) -> int:
    """Tokens of the prompt that the request would begin with.

    Raises:
        APIError: as of `make_response`.
    """
    ask = await _ask(services, owner, request, None, new_id("resp_"), lock=False)
    _, turns = _begin(services, ask, generate=True, background=False)
    return await turns.prompt_tokens()


def _begin(services: ResponseServices, ask: Ask, *, generate: bool, background: bool) -> tuple[ResponseWriter, Turns]:
    request, settings = ask.request, services.settings
    body = response_object(
        ask.response_id,
        ask.created_at,
        ask.model.id,
        request,
        ask.sampling,
        instructions=ask.instructions,
        conversation_id=ask.conversation_id,
        status="queued" if background else "in_progress",
    )
    writer = ResponseWriter(
        body,
        ask.model.tokenizer,
        {},
        logprobs=ask.sampling.logprobs,
        obfuscation=request.stream_options is not None and bool(request.stream_options.include_obfuscation),
        summary=request.reasoning is not None and request.reasoning.summarized,
        seal=partial(services.sealer.seal, ask.owner, REASONING) if request.includes(_SEALED_REASONING) else None,
    )
    turns = Turns(
        Backend(services.channel, services.media, settings.tool_timeout),
        ask,
        writer,
        streaming=bool(request.stream) or background,
        timeout=settings.background_timeout if background else settings.request_timeout,
        generate=generate,
    )
    return writer, turns


async def _ask(
    services: ResponseServices,
    owner: str,
    request: ResponseRequest,
    memory: Memory | None,
    response_id: str,
    *,
    lock: bool = True,
) -> Ask:
    """Finds everything that the request refers to, and locks its conversation, unless it is only to be looked at."""
    model = await services.registry.get(request.model, Kind.CHAT)
    prompt = request.prompt
    template = await services.prompts.fill(prompt.id, prompt.version, prompt.variables) if prompt is not None else None
    given = [*(template.items if template is not None else ()), *input_items(request.input)]
    instructions = request.instructions
    if instructions is None and template is not None:
        instructions = template.instructions
    conversation_id = request.conversation_id
    if lock and conversation_id is not None:
        await services.archive.lock(owner, conversation_id, response_id)
    try:
        context = await _context(services, owner, request, memory)
        opener = Opener(services.archive, services.sealer, owner)
        items = await opener.resolve(given, {item["id"]: item for item in context})
        approved, refused = calls_to_run(context, items)
        places = {item["id"]: f"input[{index}]" for index, item in enumerate(items)} if template is None else {}
        budget = services.media.budget()

        async def read_files(readable: Sequence[Item], where: Mapping[str, str]) -> list[Item]:
            read = await read_item_files(readable, services.media, budget, file_content, where)
            return [dict(item) for item in read]

        async def file_content(file_id: str) -> tuple[str, bytes] | None:
            return await services.archive.file(owner, file_id)

        ask = Ask(
            owner=owner,
            response_id=response_id,
            created_at=int(time.time()),
            model=model,
            request=request,
            sampling=response_sampling(request, logprobs=request.wants_logprobs),
            tools=request.requested_tools,
            context=await read_files(opener.read(context), {}),
            input=items,
            read=[*await read_files(opener.read(items), places), *refused],
            instructions=instructions,
            conversation_id=conversation_id,
            places=places,
            approved=approved,
        )
        ask.toolboxes = await toolboxes(services, owner, request)
        return ask
    except BaseException:
        if lock and conversation_id is not None:
            await services.archive.unlock(owner, conversation_id, response_id)
        raise


async def _context(
    services: ResponseServices, owner: str, request: ResponseRequest, memory: Memory | None
) -> list[Item]:
    """Items before those of the request, as they were kept.

    Raises:
        APIError: 404, there is no such response or conversation; 400, it cannot be gone on from.
    """
    if request.conversation_id is not None:
        return await services.archive.conversation_items(owner, request.conversation_id)
    previous = request.previous_response_id
    if previous is None:
        return []
    at_hand = memory.get(previous) if memory is not None else None
    return at_hand if at_hand is not None else await services.archive.history(owner, previous)
