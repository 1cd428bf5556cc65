"""What is known of one HTTP request besides its body: made at the door, filled in on the way, logged at the end."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Scope

_KEY = "tritongate.request"
_ACCEPTABLE = re.compile(rb"[A-Za-z0-9._:-]{1,128}\Z")


@dataclass
class RequestContext:
    """request_id: `x-request-id` of request and answer. key_id: whose key it came with, None without keys.
    key_name: what the keys file calls that key, "" if nothing; for the log.

    abandoned: the client has left. expired: it was given up after the longest time an answer may take.
    error_code: OpenAI's code of the error that ended it. fields: further facts for the log, never text of a prompt.
    """

    request_id: str
    key_id: str | None = None
    key_name: str = ""
    error_code: str | None = None
    abandoned: bool = False
    expired: bool = False
    fields: dict[str, Any] = field(default_factory=dict)


def open_context(scope: Scope) -> RequestContext:
    """Makes the context of a request; takes over the client's own `x-request-id` if it is harmless."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    request_id = given.decode() if _ACCEPTABLE.match(given) else "req_" + secrets.token_hex(16)
    context = RequestContext(request_id)
    scope.setdefault("state", {})[_KEY] = context
    return context


def context_of(scope: Scope) -> RequestContext:
    context: RequestContext = scope["state"][_KEY]
    return context
