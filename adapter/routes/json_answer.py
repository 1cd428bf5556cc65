"""A JSON object as an answer."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response


def json_answer(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
