"""The application: routes, error forms, and the services behind them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from adapter.errors import APIError
from adapter.front_door import FrontDoor
from adapter.media.loader import MediaLoader
from adapter.prompts import PromptTemplates
from adapter.request_context import context_of
from adapter.responses.archive import Archive
from adapter.responses.runs import Runs
from adapter.retrieval.embedder import Embedder
from adapter.retrieval.ingestion import Ingestion
from adapter.retrieval.search import VectorSearch
from adapter.routes import (
    chat,
    completions,
    conversations,
    embeddings,
    files,
    health,
    models,
    rerank,
    response_inputs,
    response_socket,
    responses,
    score,
    stored_completions,
    tokenize,
    vector_store_files,
    vector_stores,
)
from adapter.security.addresses import AllowedHosts
from adapter.security.keys import KeyRing
from adapter.security.sealing import Sealer
from adapter.services import Services
from adapter.settings import Settings
from adapter.store.store import Store
from adapter.tools.mcp_session import McpConnector
from adapter.tools.search_provider import SearchProvider
from adapter.triton.channel import TritonChannel
from adapter.triton.registry import ModelRegistry
from adapter.triton.tokenizers import TokenizerSource
from tokentext.cache import cache_folder

VERSION = "0.1.0"

_FORM_BYTES = 64 << 10  # of an upload, beside the file


def create_app(settings: Settings, keys: KeyRing) -> FastAPI:
    """The ASGI application. It starts whether or not Triton can be reached, and finds it when it is there."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        channel = TritonChannel(settings.triton_url, settings.triton_authorities)
        tokenizers = TokenizerSource(channel, settings.tokenizers, settings.cache_dir or default_cache())
        registry = ModelRegistry(channel, tokenizers, settings.discovery_interval)
        media = MediaLoader(settings)
        store = await Store.open(
            settings.database_url() or default_store_url(), ttl=settings.store_ttl, max_bytes=settings.store_max_bytes
        )
        archive = Archive(store)
        mcp = McpConnector(
            AllowedHosts.parse(settings.mcp_allowed_hosts),
            frozenset(int(port) for port in settings.mcp_ports.split(",")),
        )
        search = None
        if settings.web_search_url:
            search = SearchProvider(settings.web_search_url, settings.web_search_key, settings.tool_timeout)
        runs = Runs(archive, settings.max_background)
        embedder = Embedder(channel, registry, settings.embedding_model, settings.request_timeout)
        ingestion = Ingestion(store, media.documents, embedder)
        app.state.services = Services(
            settings=settings,
            channel=channel,
            registry=registry,
            media=media,
            store=store,
            archive=archive,
            runs=runs,
            sealer=Sealer(store.secret()),
            prompts=PromptTemplates(settings.prompts),
            mcp=mcp,
            search=search,
            embedder=embedder,
            ingestion=ingestion,
            vector_search=VectorSearch(store, embedder),
        )
        registry.start()
        runs.start()
        ingestion.start()
        try:
            yield
        finally:
            await runs.stop()
            await ingestion.stop()
            await store.close()
            mcp.close()
            if search is not None:
                await search.aclose()
            await registry.stop()
            await media.aclose()
            await channel.close()

    app = FastAPI(
        title="Tritongate",
        summary="The OpenAI API in front of NVIDIA Triton Inference Server",
        version=VERSION,
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    for resource in (
        chat,
        stored_completions,
        completions,
        response_inputs,
        responses,
        response_socket,
        conversations,
        files,
        vector_stores,
        vector_store_files,
        embeddings,
        rerank,
        score,
        tokenize,
        models,
        health,
    ):
        app.include_router(resource.router)
    app.add_exception_handler(APIError, _answer_api_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_middleware(
        FrontDoor,
        keys=keys,
        max_requests=settings.max_concurrent_requests,
        max_body=settings.max_body_bytes,
        max_upload=settings.max_file_bytes + _FORM_BYTES,
    )
    return app


def default_cache() -> Path:
    """Where tokenizers from Triton are kept: beside the weights that the set-up downloads."""
    return cache_folder() / "tokenizers"


def default_store_url() -> str:
    """SQLite, in the folder where programs keep their state (XDG)."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return f"sqlite:///{state / 'tritongate' / 'store.sqlite'}"


async def _answer_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, APIError)
    context_of(request.scope).error_code = error.code or error.type
    return Response(error.body(), error.status, error.headers, "application/json")


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """The framework's own refusals: no such path, no such method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        message = f"Invalid URL ({request.method} {request.url.path})"
        if not request.url.path.startswith("/v1/"):
            message += ": the API is below /v1"
    else:
        message = f"{error.detail} ({request.method} {request.url.path})"
    refusal = APIError(error.status_code, message, headers=dict(error.headers or {}))
    return await _answer_api_error(request, refusal)
