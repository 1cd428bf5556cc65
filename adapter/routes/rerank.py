"""`POST /v1/rerank`, and `/v2/rerank` for Cohere's client, whose second version asks there."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from adapter.generation.comparison import Comparison, Scores, Texts
from adapter.generation.rerank import score as scores_of
from adapter.request_context import context_of
from adapter.routes.request_body import documented_body, read_json
from adapter.routes.scored import ScoredResponse, longest, usage
from adapter.schema.rerank import RerankRequest, parse_rerank_request
from adapter.services import services_of
from adapter.triton.model import Kind

router = APIRouter(tags=["rerank"])


@router.post("/v2/rerank", include_in_schema=False)
@router.post(
    "/v1/rerank",
    summary="Sort documents by their relevance to a query",
    response_class=Response,
    openapi_extra=documented_body(RerankRequest),
)
async def rerank(request: Request) -> Response:
    """Up to 2,048 documents, the most relevant first."""
    services = services_of(request)
    wanted = parse_rerank_request(await read_json(request))
    model = await services.registry.get(wanted.model, Kind.RERANKER, Kind.EMBEDDING)
    context_of(request.scope).fields["model"] = model.id
    texts = wanted.texts()
    comparison = Comparison(
        queries=Texts([wanted.query], ["query"]),
        documents=Texts(texts, [f"documents[{index}]" for index in range(len(texts))]),
        longest=longest(model, wanted.truncate_prompt_tokens),
        longest_document=wanted.max_tokens_per_doc,
        activation=wanted.use_activation,
    )
    timeout = services.settings.request_timeout

    def body(scores: Scores) -> dict[str, Any]:
        order = sorted(range(len(texts)), key=lambda index: -scores.values[index])[: wanted.top_n]
        results: list[dict[str, Any]] = []
        for index in order:
            results.append({"index": index, "relevance_score": scores.values[index]})
            if wanted.return_documents is not False:
                results[-1]["document"] = {"text": texts[index]}
        return {"id": "rerank-" + secrets.token_hex(16), "model": model.id, "results": results, "usage": usage(scores)}

    return ScoredResponse(lambda: scores_of(services.channel, model, comparison, timeout), body, timeout)
