"""Response objects as they are at the start."""

from __future__ import annotations

from typing import Any

from adapter.encoding.response_object import response_object
from adapter.schema.responses import parse_response_request, response_sampling


def response_body(*, conversation_id: str | None = None, **fields: Any) -> dict[str, Any]:
    """`fields` of the request, as a client sends them."""
    request = parse_response_request({"model": "m", "input": "hi", **fields})
    sampling = response_sampling(request, logprobs=request.wants_logprobs)
    return response_object(
        "resp_1",
        1700000000,
        "m",
        request,
        sampling,
        instructions=request.instructions,
        conversation_id=conversation_id,
    )
