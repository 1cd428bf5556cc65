"""`POST /v1/completions`."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

from fastapi import APIRouter
from openai.types import Completion
from starlette.requests import Request
from starlette.responses import Response

from adapter.encoding.completion import CompletionFold
from adapter.encoding.completion_chunks import CompletionChunkEncoder
from adapter.encoding.completion_pieces import CompletionForm
from adapter.generation.choices import Choices
from adapter.generation.completion_prompts import CompletionPrompt, completion_prompts, filling_in
from adapter.generation.generation import Generation
from adapter.generation.no_generation import NoGeneration
from adapter.generation.sampling import Sampling, unsupported_by_engine
from adapter.request_context import context_of
from adapter.routes.generation_response import FoldedGeneration, StreamedGeneration
from adapter.routes.request_body import documented_body, read_json
from adapter.schema.completions import CompletionRequest, parse_completion_request, sampling_of
from adapter.schema.stream_options import stream_usage
from adapter.services import Services, services_of
from adapter.triton.model import Kind, ServedModel

router = APIRouter(tags=["completions"])


@router.post(
    "/v1/completions",
    summary="Create a text completion",
    response_class=Response,
    responses={200: {"model": Completion}},
    openapi_extra=documented_body(CompletionRequest),
)
async def create_completion(request: Request) -> Response:
    """Continues texts, or fills in before a suffix, in one piece or streamed as server-sent events."""
    services = services_of(request)
    wanted = parse_completion_request(await read_json(request))
    model = await services.registry.get(wanted.model, Kind.CHAT)
    context = context_of(request.scope)
    context.fields["model"] = model.id
    if wanted.candidates > wanted.choices and "return_log_probs" not in model.inputs:
        raise unsupported_by_engine(model, "best_of", "return_log_probs")
    prompts = await completion_prompts(
        model,
        wanted.prompts(),
        suffix=wanted.suffix,
        add_special_tokens=wanted.add_special_tokens is not False,
        single=wanted.single,
    )
    if wanted.suffix is not None:
        model = filling_in(model)
    completion_id = "cmpl-" + secrets.token_hex(16)
    created = int(time.time())
    sampling = replace(sampling_of(wanted), cache_scope=context.key_id or "")
    choices = _choices(services, model, completion_id, prompts, wanted, sampling)
    timeout = services.settings.request_timeout
    form = CompletionForm(
        echo=tuple(prompt.text for prompt in prompts) if wanted.echo else None,
        logprobs=wanted.logprobs is not None,
        scores_prompt=wanted.scores_prompt,
        choices=wanted.choices,
    )
    if not wanted.stream:
        fold = CompletionFold(model, completion_id, created, form, prompts=len(prompts), candidates=wanted.candidates)
        return FoldedGeneration(choices, fold, timeout)
    options = wanted.stream_options
    encoder = CompletionChunkEncoder(
        model,
        completion_id,
        created,
        stream_usage(options, services.settings.stream_usage),
        form,
        prompts=len(prompts),
        obfuscation=options is not None and bool(options.include_obfuscation),
    )
    return StreamedGeneration(choices, encoder, timeout)


def _choices(
    services: Services,
    model: ServedModel,
    completion_id: str,
    prompts: list[CompletionPrompt],
    wanted: CompletionRequest,
    sampling: Sampling,
) -> Choices:
    """All answers of the request; those of one prompt side by side."""

    def one(index: int, prompt: CompletionPrompt, candidate: int) -> Generation | NoGeneration:
        if sampling.max_tokens == 0 and not sampling.prompt_logprobs:
            return NoGeneration(model, prompt.token_ids, "prompt")
        return Generation(
            services.channel,
            model,
            f"{completion_id}-{index}",
            prompt.token_ids,
            sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + candidate),
            streaming=bool(wanted.stream),
            timeout=services.settings.request_timeout,
            prompt_param="prompt",
            continues=True,
        )

    count = wanted.candidates
    generations = [
        one(place * count + candidate, prompt, candidate)
        for place, prompt in enumerate(prompts)
        for candidate in range(count)
    ]
    return Choices(generations, prompts=len(prompts))
