"""What an MCP tool gave, as text: it is all that the model and `output` of an item can hold."""

from __future__ import annotations

import json
from typing import Any

from mcp_types import AudioContent, BlobResourceContents, CallToolResult, EmbeddedResource, ImageContent, TextContent

LONGEST_OUTPUT = 256 << 10
"""Characters; more are cut off, with a note."""


def result_text(result: CallToolResult) -> str:
    """Texts as they are, other content as JSON, each beginning a line.

    Structured content counts where there is no other: servers give it as text, too.
    """
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        parts = [_json(result.structured_content)]
    text = "\n".join(parts)
    if len(text) <= LONGEST_OUTPUT:
        return text
    return f"{text[:LONGEST_OUTPUT]}\n[{len(text) - LONGEST_OUTPUT:,} more characters were cut off]"


def _part(block: Any) -> str:
    if isinstance(block, TextContent):
        return block.text
    fields = block.model_dump(by_alias=True, exclude_none=True, mode="json")
    # Base64 says nothing to a model that reads text, and would fill its context.
    if isinstance(block, ImageContent | AudioContent):
        fields["data"] = _left_out(block.data)
    elif isinstance(block, EmbeddedResource) and isinstance(block.resource, BlobResourceContents):
        fields["resource"]["blob"] = _left_out(block.resource.blob)
    return _json(fields)


def _left_out(base64: str) -> str:
    return f"[{len(base64):,} characters of base64 left out]"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
