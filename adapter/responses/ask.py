"""What a response is to be made of, once everything that it refers to has been found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapter.generation.sampling import Sampling
from adapter.schema.response_tools import RequestedTools
from adapter.schema.responses import ResponseRequest
from adapter.tools.toolbox import Toolbox
from adapter.triton.model import ServedModel

Item = dict[str, Any]


@dataclass
class Ask:
    """
    owner: id of the API key, "" without keys.
    context: items before those of the request, oldest first, as the model is to see them.
    input: the request's own items, as they are kept and listed.
    read: `input` as the model is to see it: references resolved, sealed content opened, files in place.
    instructions: the request's, or those of its prompt template.
    places: where in the request's body the item of an id stands, for errors.
    approved: calls of MCP tools that the client has approved now, with the id of their approval request.
    """

    owner: str
    response_id: str
    created_at: int
    model: ServedModel
    request: ResponseRequest
    sampling: Sampling
    tools: RequestedTools
    context: list[Item]
    input: list[Item]
    read: list[Item]
    instructions: str | None
    conversation_id: str | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    toolboxes: Sequence[Toolbox] = ()
    approved: list[Item] = field(default_factory=list)
