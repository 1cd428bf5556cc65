"""The toolboxes that a request asks for."""

from __future__ import annotations

from adapter.schema.responses import ResponseRequest
from adapter.services import Services
from adapter.tools.toolbox import Toolbox


def toolboxes(services: Services, owner: str, request: ResponseRequest) -> list[Toolbox]:
    return []
