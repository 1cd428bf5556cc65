"""Bodies of the Responses API, as the tests here write them."""

from __future__ import annotations

from typing import Any

from adapter.schema.responses import ResponseRequest, parse_response_request


def parsed(**changes: Any) -> ResponseRequest:
    return parse_response_request({"model": "m", "input": "Hi", **changes})
