"""What the routes work with: made once per process."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from adapter.request_context import context_of
from adapter.responses.response_services import ResponseServices
from adapter.retrieval.embedder import Embedder
from adapter.retrieval.ingestion import Ingestion
from adapter.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Services(ResponseServices):
    store: Store
    embedder: Embedder
    ingestion: Ingestion


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def services_and_owner(request: Request) -> tuple[Services, str]:
    """The services, and whose records the request may see: the id of its API key, "" without keys."""
    return services_of(request), context_of(request.scope).key_id or ""
