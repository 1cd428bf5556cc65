"""`POST /v1/score`."""

from __future__ import annotations

import secrets
import time
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from adapter.generation.comparison import Comparison, Scores, Texts
from adapter.generation.rerank import score as scores_of
from adapter.request_context import context_of
from adapter.routes.request_body import documented_body, read_json
from adapter.routes.scored import ScoredResponse, longest, usage
from adapter.schema.rerank import ScoreRequest, parse_score_request
from adapter.services import services_of
from adapter.triton.model import Kind

router = APIRouter(tags=["rerank"])


@router.post(
    "/v1/score",
    summary="Score pairs of texts",
    response_class=Response,
    openapi_extra=documented_body(ScoreRequest),
)
async def score(request: Request) -> Response:
    """One text with each of up to 2,048, or as many with as many."""
    services = services_of(request)
    wanted = parse_score_request(await read_json(request))
    model = await services.registry.get(wanted.model, Kind.RERANKER, Kind.EMBEDDING)
    context_of(request.scope).fields["model"] = model.id
    queries, documents = (Texts(texts, params) for texts, params in wanted.sides())
    limit = longest(model, wanted.truncate_prompt_tokens)
    comparison = Comparison(queries, documents, longest=limit, activation=wanted.use_activation)
    timeout = services.settings.request_timeout

    def body(scores: Scores) -> dict[str, Any]:
        return {
            "id": "score-" + secrets.token_hex(16),
            "object": "list",
            "created": int(time.time()),
            "model": model.id,
            "data": [{"index": index, "object": "score", "score": value} for index, value in enumerate(scores.values)],
            "usage": usage(scores),
        }

    return ScoredResponse(lambda: scores_of(services.channel, model, comparison, timeout), body, timeout)
