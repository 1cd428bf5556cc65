"""Errors in OpenAI's form.

Every failure a client can see is an `APIError`; its body is the object that OpenAI's API returns:
`{"error": {"message": str, "type": str, "param": str | null, "code": str | null}}`.
"""

from __future__ import annotations

import orjson


class APIError(Exception):
    """A failure that reaches the client.

    Args:
        status: HTTP status.
        message: what went wrong and what would work, for a person.
        type: OpenAI's error type, such as `invalid_request_error`.
        param: the request field at fault, in the client's own spelling, or None.
        code: OpenAI's machine-readable code, such as `model_not_found`, or None.
        headers: further response headers, such as `retry-after`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.headers = headers or {}

    def body(self) -> bytes:
        """The JSON error object, as it goes over the wire."""
        return orjson.dumps(
            {
                "error": {
                    "message": self.message,
                    "type": self.type,
                    "param": self.param,
                    "code": self.code,
                }
            }
        )


def invalid_request(message: str, param: str | None = None, code: str | None = None) -> APIError:
    """400: the request itself is at fault."""
    return APIError(400, message, param=param, code=code)


def unauthorized(message: str, code: str | None = "invalid_api_key") -> APIError:
    """401: no key, or a wrong one."""
    return APIError(401, message, code=code, headers={"www-authenticate": "Bearer"})


def not_found(message: str, param: str | None = None, code: str | None = None) -> APIError:
    """404: no such model, response or path."""
    return APIError(404, message, param=param, code=code)


def too_large(message: str) -> APIError:
    """413: the body is over the limit."""
    # The rest of the body will not be read: the connection is of no further use.
    return APIError(413, message, code="request_too_large", headers={"connection": "close"})


def overloaded(message: str, retry_after: int = 1) -> APIError:
    """503: Triton, or this adapter, has no room at the moment."""
    return _try_again(message, code="overloaded", retry_after=retry_after)


def unavailable(message: str, retry_after: int = 1) -> APIError:
    """503: Triton cannot be reached."""
    return _try_again(message, code="triton_unavailable", retry_after=retry_after)


def stopping() -> APIError:
    """503: this server shuts down, and the answer was not complete in time."""
    return _try_again("This server is shutting down.", code="shutting_down", retry_after=1)


def _try_again(message: str, *, code: str, retry_after: int) -> APIError:
    headers = {"retry-after": str(retry_after)}
    return APIError(503, message, type="server_error", code=code, headers=headers)


def timed_out() -> APIError:
    """504: the answer took longer than this server allows."""
    return APIError(504, "The model took longer than this server allows.", type="server_error", code="timeout")


def internal(message: str) -> APIError:
    """500: a fault of the server; the message holds no internals."""
    return APIError(500, message, type="server_error", code="internal_error")
