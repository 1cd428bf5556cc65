"""The toolboxes that a request asks for."""

from __future__ import annotations

from dataclasses import dataclass

from adapter.retrieval.search import VectorSearch
from adapter.schema.responses import ResponseRequest
from adapter.tools.citations import SourceNumbers
from adapter.tools.file_search import NAME as FILE_SEARCH
from adapter.tools.file_search import RESULTS, FileSearchToolbox
from adapter.tools.mcp import McpToolbox
from adapter.tools.mcp_session import McpConnector
from adapter.tools.search_provider import SearchProvider
from adapter.tools.tool_names import ToolNames
from adapter.tools.toolbox import Toolbox
from adapter.tools.web_search import NAME as WEB_SEARCH
from adapter.tools.web_search import SOURCES, WebSearchToolbox, check_configured


@dataclass(frozen=True, kw_only=True)
class ToolServices:
    """search: None: no web search is configured."""

    mcp: McpConnector
    search: SearchProvider | None
    vector_search: VectorSearch


async def toolboxes(services: ToolServices, owner: str, request: ResponseRequest) -> list[Toolbox]:
    """Raises APIError: 400, a tool that this server does not have; 404, a vector store that is not there."""
    asked = request.requested_tools
    taken = set(asked.named)
    numbers = SourceNumbers()
    boxes: list[Toolbox] = []
    if asked.web_search is not None:
        provider = check_configured(asked.web_search, services.search)
        boxes.append(WebSearchToolbox(asked.web_search, provider, numbers, show_sources=request.includes(SOURCES)))
        taken.add(WEB_SEARCH)
    if asked.file_search is not None:
        searched = FileSearchToolbox(
            asked.file_search, services.vector_search, owner, numbers, show_results=request.includes(RESULTS)
        )
        await searched.check()
        boxes.append(searched)
        taken.add(FILE_SEARCH)
    names = ToolNames(taken)
    boxes += [McpToolbox(server, services.mcp, names) for server in asked.mcp]
    return boxes
