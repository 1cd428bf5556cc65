"""The response object as it is before anything has been generated: what was asked for, with the defaults filled in.

It has every field that Open Responses requires (ResponseResource) and those of OpenAI's `Response` that mean something
here; ResponseWriter keeps it up to date.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from adapter.generation.sampling import Sampling
from adapter.schema.responses import ResponseRequest


def response_object(
    response_id: str,
    created_at: int,
    model_id: str,
    request: ResponseRequest,
    sampling: Sampling,
    *,
    instructions: str | None = None,
    conversation_id: str | None = None,
    status: str = "in_progress",
) -> dict[str, Any]:
    """Args:
    created_at: Unix seconds.
    sampling: what the engine is told, which is what the object says of temperature, top_p and penalties.
    instructions: the request's, or those of its prompt template.
    """
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "completed_at": None,
        "status": status,
        "background": bool(request.background),
        "error": None,
        "incomplete_details": None,
        "instructions": instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "model": model_id,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "conversation": None if conversation_id is None else {"id": conversation_id},
        "prompt": _told(request.prompt) or None,
        "reasoning": {"effort": None, "summary": None, **_told(request.reasoning)},
        "service_tier": "default",  # there is no other
        "store": request.stored,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty or 0.0,
        "frequency_penalty": sampling.frequency_penalty or 0.0,
        "top_logprobs": request.top_logprobs or 0,
        "text": _text(request),
        "tool_choice": _tool_choice(request.tool_choice),
        "tools": request.requested_tools.echoed,
        "truncation": request.truncation or "disabled",
        "usage": None,
        "user": request.user,
        "safety_identifier": request.safety_identifier,
        "prompt_cache_key": request.prompt_cache_key,
        "metadata": request.metadata or {},
    }


def _told(options: BaseModel | None) -> dict[str, Any]:
    """What the client has set, in its own form; null is the same as nothing."""
    return {} if options is None else options.model_dump(by_alias=True, exclude_none=True)


def _text(request: ResponseRequest) -> dict[str, Any]:
    text = {"format": {"type": "text"}, **_told(request.text)}
    if text["format"]["type"] == "json_schema":
        # The types of both APIs have all of these keys. (In Open Responses' the schema is null, which helps nobody.)
        whole = {"description": None, "strict": False, "schema": request.answer_schema}
        text["format"] = {**whole, **text["format"]}
    return text


def _tool_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any]:
    if isinstance(choice, dict) and choice["type"] == "allowed_tools":
        return {**choice, "mode": choice.get("mode") or "auto"}
    return choice or "auto"
