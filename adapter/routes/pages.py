"""Lists that come in pages: `after`, `limit` and `order` of the query, and OpenAI's list object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request

from adapter.errors import APIError, invalid_request
from adapter.routes.query import query_number, query_order


@dataclass(frozen=True)
class PageQuery:
    """after: id of the last entry of the page before."""

    after: str | None
    limit: int
    order: Literal["asc", "desc"]


def page_query(
    request: Request, *, default: int = 20, most: int = 100, order: Literal["asc", "desc"] = "desc"
) -> PageQuery:
    """Raises APIError, 400, naming the parameter."""
    limit = query_number(request, "limit", default=default, least=1, most=most)
    return PageQuery(request.query_params.get("after"), limit, query_order(request, order))


def list_object(entries: Sequence[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """OpenAI's list; ids of an empty one are null."""
    return {
        "object": "list",
        "data": list(entries),
        "first_id": entries[0]["id"] if entries else None,
        "last_id": entries[-1]["id"] if entries else None,
        "has_more": has_more,
    }


def page_of(entries: Sequence[dict[str, Any]], query: PageQuery) -> dict[str, Any]:
    """A page of a list that is at hand as a whole, oldest entry first.

    Raises:
        APIError: 400, it has no entry `after`.
    """
    ordered = list(entries) if query.order == "asc" else list(reversed(entries))
    start = 0
    if query.after is not None:
        places = [index for index, entry in enumerate(ordered) if entry["id"] == query.after]
        if not places:
            raise unknown_cursor(query.after)
        start = places[0] + 1
    return list_object(ordered[start : start + query.limit], len(ordered) > start + query.limit)


def unknown_cursor(after: str) -> APIError:
    return invalid_request(f"Invalid 'after': there is no '{after[:80]}' in this list.", "after", "invalid_value")
