"""A conversation made short: what the user said stays, the rest becomes a summary that the client keeps sealed."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson

from adapter.encoding.output_items import new_id
from adapter.errors import APIError
from adapter.responses.making import make_response
from adapter.responses.preparation import COMPACTION
from adapter.responses.response_services import ResponseServices
from adapter.schema.responses import CompactRequest, parse_response_request

_ASKED = (
    "Summarize this conversation for yourself, so that you can go on with it without seeing it again. Keep names, "
    "numbers, decisions, results of tools, and what is still to be done. Write the summary only."
)
_LONGEST = 2048  # tokens
_SUMMARY = "Summary of the conversation so far:\n"


async def compact(services: ResponseServices, owner: str, request: CompactRequest) -> dict[str, Any]:
    """The object of `POST /v1/responses/compact`: the user's messages, and one compaction item.

    Raises:
        APIError: as of `make_response`; the model gave no summary.
    """
    given = request.input or []
    items = [{"role": "user", "content": given}] if isinstance(given, str) else list(given)
    asked = {
        "model": request.model,
        "input": [*items, {"role": "user", "content": _ASKED}],
        "instructions": request.instructions,
        "previous_response_id": request.previous_response_id,
        "max_output_tokens": _LONGEST,
        "temperature": 0,
        "truncation": "auto",
        "store": False,
    }
    recording = await make_response(services, owner, parse_response_request(asked))
    async with contextlib.aclosing(recording.events()) as events:
        async for _ in events:
            pass
    if recording.failure is not None:
        raise recording.failure
    body, ask = recording.writer.body, recording.ask
    texts = [part["text"] for item in body["output"] if item["type"] == "message" for part in item["content"]]
    summary = "\n".join(texts).strip()
    if not summary:
        raise APIError(502, "The model gave no summary.", type="server_error", code="model_error")
    conversation = [*ask.context, *ask.input[:-1]]
    kept = [item for item in conversation if item["type"] == "message" and item["role"] == "user"]
    replaced = [
        {
            "type": "message",
            "id": new_id("msg_"),
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": _SUMMARY + summary, "annotations": [], "logprobs": []}],
        }
    ]
    compaction = {
        "type": "compaction",
        "id": new_id("cmp_"),
        "encrypted_content": services.sealer.seal(owner, COMPACTION, orjson.dumps(replaced)),
    }
    return {
        "id": ask.response_id,
        "object": "response.compaction",
        "created_at": ask.created_at,
        "output": [*kept, compaction],
        "usage": body["usage"],
    }
