"""Reads a JSON request body, and describes it for /docs."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from adapter.errors import APIError
from adapter.schema.body import RequestModel, parse_json


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object of the body.

    Raises:
        APIError: 400 no JSON object; 413 too large; 415 another content type. The last keeps web pages of strangers
            out: a browser sends JSON to another site only after having asked it.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        found = f"`{content_type[:80]}`" if content_type else "none"
        raise APIError(
            415, f"The content-type has to be `application/json`; it is {found}.", code="unsupported_media_type"
        )
    return parse_json(await request.body())


def documented_body(kind: type[RequestModel]) -> dict[str, Any]:
    """FastAPI's `openapi_extra` for a route that checks its body itself, so that errors have OpenAI's form."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions = schema.pop("$defs", {})
    inlined = _inline(schema, definitions, ())
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined}}}}


def _inline(node: Any, definitions: dict[str, Any], within: tuple[str, ...]) -> Any:
    """Definitions in place of references: FastAPI collects components only of bodies that it checks itself."""
    if isinstance(node, list):
        return [_inline(item, definitions, within) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        return {} if name in within else _inline(definitions[name], definitions, (*within, name))
    # A discriminator's mapping points to components too, and is not needed beside `const` values.
    return {key: _inline(value, definitions, within) for key, value in node.items() if key != "discriminator"}
