"""`POST /v1/embeddings`."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import orjson
from fastapi import APIRouter
from openai.types import CreateEmbeddingResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from adapter.generation.embedding import Embeddings, embed, token_inputs
from adapter.request_context import RequestContext, context_of
from adapter.routes.direct import DirectRoute
from adapter.routes.request_body import documented_body, read_json
from adapter.routes.watched import WatchedResponse, send_json
from adapter.schema.embeddings import EmbeddingsRequest, parse_embeddings_request
from adapter.services import Services, services_of
from adapter.triton.model import Kind, ServedModel

router = APIRouter(tags=["embeddings"], route_class=DirectRoute)


@router.post(
    "/v1/embeddings",
    summary="Create embeddings",
    response_class=Response,
    responses={200: {"model": CreateEmbeddingResponse}},
    openapi_extra=documented_body(EmbeddingsRequest),
)
async def create_embeddings(request: Request) -> Response:
    """Vectors of up to 2,048 texts or token arrays, in their order."""
    services = services_of(request)
    wanted = parse_embeddings_request(await read_json(request))
    model = await services.registry.get(wanted.model, Kind.EMBEDDING)
    context_of(request.scope).fields["model"] = model.id
    return _EmbeddingsResponse(services, model, wanted)


class _EmbeddingsResponse(WatchedResponse):
    def __init__(self, services: Services, model: ServedModel, wanted: EmbeddingsRequest) -> None:
        super().__init__(services.settings.request_timeout)
        self._services = services
        self._model = model
        self._wanted = wanted
        self._work: asyncio.Future[Embeddings] | None = None

    def abandon(self) -> None:
        if self._work is not None:
            self._work.cancel()

    async def run(self, send: Send, context: RequestContext) -> None:
        self._work = asyncio.ensure_future(self._embed())
        result = await self._work
        context.fields["prompt_tokens"] = result.prompt_tokens
        body = _body(result, self._model.id, self._wanted.encoding_format or "float")
        await send_json(send, body)

    async def _embed(self) -> Embeddings:
        rows = await token_inputs(self._model, self._wanted.inputs(), single=self._wanted.single)
        timeout = self._services.settings.request_timeout
        return await embed(self._services.channel, self._model, rows, self._wanted.dimensions, timeout)


def _body(result: Embeddings, model_id: str, encoding_format: str) -> bytes:
    """OpenAI's list object; base64 holds the vector as little-endian FP32."""
    vectors: list[Any]
    if encoding_format == "base64":
        vectors = [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in result.vectors]
    else:
        vectors = list(result.vectors)
    return orjson.dumps(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
            ],
            "model": model_id,
            "usage": {"prompt_tokens": result.prompt_tokens, "total_tokens": result.prompt_tokens},
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
