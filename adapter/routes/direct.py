"""Routes that hand the request itself to their endpoint."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response


class DirectRoute(APIRoute):
    """A route whose endpoint takes a `Request`, and nothing else, and returns a `Response`.

    FastAPI then has no dependencies to solve and no result to serialize, yet would look for both in every request, for
    a fifth of what a short request costs here. The route's part in the API's description stays as it is.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler
