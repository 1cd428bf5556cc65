"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from openai.types import Model
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from adapter.services import services_of
from adapter.triton.model import ServedModel

router = APIRouter(tags=["models"])


@router.get("/v1/models", summary="List models", response_class=JSONResponse)
async def list_models(request: Request) -> Response:
    """Every model that Triton has ready now."""
    models = await services_of(request).registry.models()
    return JSONResponse({"object": "list", "data": [_model_object(model) for model in models]})


# Ids such as `meta/llama-3.1-8b-instruct:fp8` hold slashes, escaped by some clients and not by others.
@router.get(
    "/v1/models/{model_id:path}",
    summary="Retrieve a model",
    response_class=JSONResponse,
    responses={200: {"model": Model}},
)
async def retrieve_model(request: Request, model_id: str) -> Response:
    """One model, if Triton has it ready now."""
    registry = services_of(request).registry
    await registry.models()  # as current as the list
    return JSONResponse(_model_object(await registry.get(model_id)))


def _model_object(model: ServedModel) -> dict[str, Any]:
    """OpenAI's fields; a LoRA adapter also names the `parent` that it is for."""
    said = {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}
    return {**said, "parent": model.parent} if model.parent else said
