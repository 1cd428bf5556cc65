"""Tools of the Responses API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.errors import invalid_request
from adapter.parsing.tool_format import Tool
from adapter.schema.attribute_filters import Filter, attribute_filter
from adapter.schema.body import RequestModel
from adapter.schema.mcp_tools import McpServer, McpTool, mcp_server
from adapter.schema.response_parts import ObjectID
from adapter.schema.tool_definitions import MOST_TOOLS, GrammarText, ToolName, custom_tool
from adapter.schema.typed_objects import check_typed, object_of
from adapter.schema.unsupported import refused

WEB_SEARCHES = ("web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11")

_Async = Annotated[Any, refused("Calls are not asynchronous here: leave it out.", False)]
_Deferred = Annotated[Any, refused("There is no tool search here: leave it out.", False)]
_Callers = Annotated[Any, refused("Only the model calls tools here: leave it out.", ["direct"])]


class FunctionTool(RequestModel):
    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    async_: Annotated[_Async, Field(alias="async")] = None
    defer_loading: _Deferred = None
    allowed_callers: _Callers = None
    output_schema: Annotated[Any, refused("Leave it out, or tell of it in 'description'.")] = None


class TextInput(RequestModel):
    type: Literal["text"]


class GrammarInput(RequestModel):
    type: Literal["grammar"]
    definition: GrammarText
    syntax: Literal["lark", "regex"]


class CustomTool(RequestModel):
    type: Literal["custom"]
    name: ToolName
    description: str | None = None
    format: Annotated[TextInput | GrammarInput, Field(discriminator="type")] | None = None
    async_: Annotated[_Async, Field(alias="async")] = None
    defer_loading: _Deferred = None
    allowed_callers: _Callers = None


class RankingOptions(RequestModel):
    ranker: Literal["auto", "default-2024-11-15"] | None = None
    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    hybrid_search: Annotated[Any, refused("Files are searched by the meaning of their text: leave it out.")] = None


class FileSearchTool(RequestModel):
    type: Literal["file_search"]
    vector_store_ids: Annotated[list[ObjectID], Field(min_length=1, max_length=16, fail_fast=True)]
    max_num_results: Annotated[int, Field(ge=1, le=50)] | None = None
    ranking_options: RankingOptions | None = None
    filters: dict[str, Any] | None = None


_Domain = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.-]+$")]
_PlaceName = Annotated[str, Field(max_length=128)]


class SearchedDomains(RequestModel):
    allowed_domains: Annotated[list[_Domain], Field(max_length=100, fail_fast=True)] | None = None


class UserLocation(RequestModel):
    """country: two letters (ISO 3166-1). timezone: IANA's name."""

    type: Literal["approximate"] | None = None
    city: _PlaceName | None = None
    country: Annotated[str, Field(pattern="^[A-Za-z]{2}$")] | None = None
    region: _PlaceName | None = None
    timezone: _PlaceName | None = None


class WebSearchTool(RequestModel):
    type: Literal["web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"]
    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: UserLocation | None = None
    filters: SearchedDomains | None = None
    external_web_access: Annotated[Any, refused("Searches are live: leave it out.", True)] = None
    search_content_types: Annotated[Any, refused("Only text is searched: leave it out.", ["text"])] = None


TOOL_KINDS: Mapping[str, type[RequestModel]] = {
    "function": FunctionTool,
    "custom": CustomTool,
    "mcp": McpTool,
    "file_search": FileSearchTool,
    **dict.fromkeys(WEB_SEARCHES, WebSearchTool),
}

REFUSED_TOOLS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("code_interpreter", "computer", "computer_use_preview", "image_generation", "local_shell"),
            *("shell", "apply_patch"),
        ),
        "This server does not run it: offer it through an MCP server ('mcp'), or as a function that you run.",
    ),
    "namespace": "Give every function a name of its own, and list it in 'tools'.",
    "tool_search": "List the tools themselves.",
    "programmatic_tool_calling": "Only the model calls tools here: leave it out.",
}


ToolList = Annotated[
    list[Annotated[dict[str, Any], object_of(TOOL_KINDS)]], Field(max_length=MOST_TOOLS, fail_fast=True)
]


@dataclass(frozen=True)
class ClientTool:
    """A tool that the client runs. place: where in the body it stands."""

    tool: Tool
    place: str
    custom: bool


@dataclass(frozen=True)
class FileSearch:
    """score_threshold: 0 to 1; results below it are left out."""

    place: str
    vector_store_ids: tuple[str, ...]
    max_num_results: int
    score_threshold: float
    filters: Filter | None


@dataclass(frozen=True)
class WebSearch:
    """context_size: low, medium or high. allowed_domains: empty: all."""

    place: str
    type: str
    context_size: str
    user_location: Mapping[str, str]
    allowed_domains: tuple[str, ...]


@dataclass(frozen=True)
class RequestedTools:
    """The tools of a request.

    echoed: as the response shows them, without secrets.
    """

    functions: Sequence[ClientTool] = ()
    mcp: Sequence[McpServer] = ()
    file_search: FileSearch | None = None
    web_search: WebSearch | None = None
    echoed: list[dict[str, Any]] = field(default_factory=list)

    @property
    def named(self) -> dict[str, tuple[Tool, str]]:
        """The client's tools by name, as `choose_tools` takes them."""
        return {item.tool.name: (item.tool, item.place) for item in self.functions}

    @property
    def custom(self) -> frozenset[str]:
        return frozenset(item.tool.name for item in self.functions if item.custom)


_DEFAULT_RESULTS = 20


def requested_tools(tools: Sequence[Any] | None) -> RequestedTools:
    """Raises APIError, 400, naming the field."""
    functions: list[ClientTool] = []
    servers: list[McpServer] = []
    file_search: FileSearch | None = None
    web_search: WebSearch | None = None
    echoed: list[dict[str, Any]] = []
    for at, given in enumerate(tools or ()):
        place = f"tools[{at}]"
        item = check_typed(given, place, TOOL_KINDS, REFUSED_TOOLS)
        shown = {key: value for key, value in given.items() if value is not None}
        if isinstance(item, FunctionTool):
            functions.append(ClientTool(_function(item), place, custom=False))
            shown = {"description": None, "parameters": None, "strict": False, **shown}
        elif isinstance(item, CustomTool):
            functions.append(ClientTool(_custom(item, place), place, custom=True))
            shown = {"format": {"type": "text"}, **shown}
        elif isinstance(item, McpTool):
            server = mcp_server(item, place)
            servers.append(server)
            shown = server.shown(shown)
        elif isinstance(item, FileSearchTool):
            _check_single(file_search, place)
            file_search = _file_search(item, place)
        elif isinstance(item, WebSearchTool):
            _check_single(web_search, place)
            web_search = _web_search(item, place)
        echoed.append(shown)
    _check_unlike([item.tool.name for item in functions], "name")
    _check_unlike([server.label for server in servers], "server_label")
    return RequestedTools(functions, servers, file_search, web_search, echoed)


def _function(item: FunctionTool) -> Tool:
    return Tool(item.name, item.description or "", item.parameters or {}, strict=bool(item.strict))


def _custom(item: CustomTool, place: str) -> Tool:
    grammar = (item.format.syntax, item.format.definition) if isinstance(item.format, GrammarInput) else None
    return custom_tool(item.name, item.description, grammar, f"{place}.format")


def _file_search(item: FileSearchTool, place: str) -> FileSearch:
    ranking = item.ranking_options
    return FileSearch(
        place,
        tuple(dict.fromkeys(item.vector_store_ids)),
        item.max_num_results or _DEFAULT_RESULTS,
        (ranking.score_threshold or 0.0) if ranking is not None else 0.0,
        attribute_filter(item.filters, f"{place}.filters"),
    )


def _web_search(item: WebSearchTool, place: str) -> WebSearch:
    location = item.user_location.model_dump(exclude_none=True, exclude={"type"}) if item.user_location else {}
    domains = item.filters.allowed_domains if item.filters is not None else None
    return WebSearch(place, item.type, item.search_context_size or "medium", location, tuple(domains or ()))


def _check_single(earlier: Any, place: str) -> None:
    if earlier is not None:
        message = f"Invalid '{place}': there is such a tool already, at '{earlier.place}'."
        raise invalid_request(message, place, "invalid_value")


def _check_unlike(names: list[str], what: str) -> None:
    if len(set(names)) < len(names):
        raise invalid_request(f"Invalid 'tools': every tool needs a {what} of its own.", "tools", "invalid_value")
