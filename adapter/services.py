"""What the routes work with: made once per process."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from adapter.media.loader import MediaLoader
from adapter.prompts import PromptTemplates
from adapter.request_context import context_of
from adapter.responses.archive import Archive
from adapter.responses.runs import Runs
from adapter.retrieval.embedder import Embedder
from adapter.retrieval.ingestion import Ingestion
from adapter.retrieval.search import VectorSearch
from adapter.security.sealing import Sealer
from adapter.settings import Settings
from adapter.store.store import Store
from adapter.tools.mcp_session import McpConnector
from adapter.tools.search_provider import SearchProvider
from adapter.triton.channel import TritonChannel
from adapter.triton.registry import ModelRegistry


@dataclass(frozen=True)
class Services:
    settings: Settings
    channel: TritonChannel
    registry: ModelRegistry
    media: MediaLoader
    store: Store
    archive: Archive
    runs: Runs
    sealer: Sealer
    prompts: PromptTemplates
    mcp: McpConnector
    search: SearchProvider | None
    embedder: Embedder
    ingestion: Ingestion
    vector_search: VectorSearch


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def services_and_owner(request: Request) -> tuple[Services, str]:
    """The services, and whose records the request may see: the id of its API key, "" without keys."""
    return services_of(request), context_of(request.scope).key_id or ""
