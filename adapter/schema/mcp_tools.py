"""MCP servers as tools of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from adapter.errors import invalid_request
from adapter.schema.body import RequestModel
from adapter.schema.unsupported import refused
from adapter.schema.violations import missing, render, too_many_properties, wrong_type

_MOST_NAMES = 512
_MOST_HEADERS = 64
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")  # RFC 9110, a token
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,8192}\Z")
# They belong to the connection, or would say where it leads.
_OWN_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "proxy-connection", "keep-alive", "upgrade", "te"}
    | {"trailer"}
)
_REDACTED = "<redacted>"

_ToolNames = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=_MOST_NAMES, fail_fast=True)
]


class ToolFilter(RequestModel):
    """read_only: whether the server says of the tool that it changes nothing (`readOnlyHint`)."""

    tool_names: _ToolNames | None = None
    read_only: bool | None = None


class ApprovalFilters(RequestModel):
    always: ToolFilter | None = None
    never: ToolFilter | None = None


class McpTool(RequestModel):
    type: Literal["mcp"]
    server_label: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z][a-zA-Z0-9_-]*$")]
    server_url: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^https?://\S+$")] | None = None
    authorization: Annotated[str, Field(min_length=1, max_length=16_384, pattern=r"^[\x21-\x7e]+$")] | None = None
    headers: dict[str, Any] | None = None  # strings; `mcp_server` stops at the first that is none
    allowed_tools: _ToolNames | ToolFilter | None = None
    require_approval: Literal["always", "never"] | ApprovalFilters | None = None
    server_description: Annotated[str, Field(max_length=4096)] | None = None
    connector_id: Annotated[Any, refused("Connectors are services of OpenAI: send 'server_url'.")] = None
    tunnel_id: Annotated[Any, refused("Tunnels are a service of OpenAI: send 'server_url'.")] = None
    defer_loading: Annotated[Any, refused("There is no tool search here: leave it out.", False)] = None
    allowed_callers: Annotated[Any, refused("Only the model calls tools here: leave it out.", ["direct"])] = None


@dataclass(frozen=True)
class McpServer:
    """A server of a request.

    place: where in the body it stands.
    authorization: an OAuth access token, "" for none.
    """

    place: str
    label: str
    url: str
    description: str = ""
    authorization: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    allowed: ToolFilter | None = None
    approval: Literal["always", "never"] | ApprovalFilters = "always"

    def allows(self, name: str, *, read_only: bool) -> bool:
        """Whether the model may be offered the tool."""
        return self.allowed is None or _matches(self.allowed, name, read_only)

    def needs_approval(self, name: str, *, read_only: bool) -> bool:
        """Whether the client has to allow each call; it has where `require_approval` leaves it open."""
        if isinstance(self.approval, str):
            return self.approval == "always"
        if self.approval.always is not None and _matches(self.approval.always, name, read_only):
            return True
        return self.approval.never is None or not _matches(self.approval.never, name, read_only)

    def shown(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The tool as a response shows it: without its secrets, which are not kept either."""
        shown = {key: value for key, value in given.items() if key != "authorization"}
        if self.headers:
            shown["headers"] = dict.fromkeys(self.headers, _REDACTED)
        return {"require_approval": "always", "allowed_tools": None, **shown}


def mcp_server(item: McpTool, place: str) -> McpServer:
    """Raises APIError, 400, naming the field."""
    if item.server_url is None:
        raise missing(f"{place}.server_url")
    headers = item.headers or {}
    if len(headers) > _MOST_HEADERS:
        raise too_many_properties(f"{place}.headers", len(headers), _MOST_HEADERS)
    for name, value in headers.items():
        if not isinstance(value, str):
            raise wrong_type(render([f"{place}.headers", name]), "a string", value)
        if name.lower() in _OWN_HEADERS or not _HEADER_NAME.match(name) or not _HEADER_VALUE.match(value):
            param = render([f"{place}.headers", name])
            raise invalid_request(f"Invalid '{param}': such a header cannot be sent.", param, "invalid_value")
    if item.authorization is not None and any(name.lower() == "authorization" for name in headers):
        param = f"{place}.authorization"
        message = "Mutually exclusive parameters. Ensure you are only providing one of: 'authorization' or a header"
        raise invalid_request(f"{message} of that name.", param, "mutually_exclusive_parameters")
    allowed = item.allowed_tools
    return McpServer(
        place,
        item.server_label,
        item.server_url,
        item.server_description or "",
        item.authorization or "",
        headers,
        ToolFilter(tool_names=allowed) if isinstance(allowed, list) else allowed,
        item.require_approval or "always",
    )


def _matches(wanted: ToolFilter, name: str, read_only: bool) -> bool:
    """Both conditions hold; one that is not there always does."""
    if wanted.tool_names is not None and name not in wanted.tool_names:
        return False
    return wanted.read_only is None or wanted.read_only == read_only
