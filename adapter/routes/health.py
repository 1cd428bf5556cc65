"""Health for load balancers and supervisors, and metrics for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from adapter.errors import APIError
from adapter.services import services_of
from adapter.telemetry.metrics import exposition

router = APIRouter(tags=["operation"])


@router.get("/health/live", summary="Whether this process answers", response_class=JSONResponse)
async def live() -> Response:
    """200 as long as the process answers."""
    return JSONResponse({"status": "live"})


@router.get("/health/ready", summary="Whether requests can be served", response_class=JSONResponse)
async def ready(request: Request) -> Response:
    """200 when Triton can be reached and has a model to serve, else 503."""
    try:
        models = await services_of(request).registry.models()
    except APIError as error:
        return JSONResponse({"status": "unavailable", "reason": error.message}, 503)
    if not models:
        return JSONResponse({"status": "unavailable", "reason": "Triton has no model to serve."}, 503)
    return JSONResponse({"status": "ready", "models": len(models)})


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics() -> Response:
    """Counters and latencies of this process."""
    return Response(exposition(), media_type=CONTENT_TYPE_LATEST)
