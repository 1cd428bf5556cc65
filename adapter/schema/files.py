"""The form of `POST /v1/files`: multipart, so every field is text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapter.errors import invalid_request
from adapter.schema.violations import missing, not_supported

PURPOSES = ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
_SHORTEST, _LONGEST = 3600, 2_592_000  # seconds that a file can be kept for, as in OpenAI's API
_FIELDS = ("file", "purpose", "expires_after[anchor]", "expires_after[seconds]")


@dataclass(frozen=True)
class FileUpload:
    """expires_after: seconds; None: the store's time to live alone counts."""

    purpose: str
    expires_after: int | None


def parse_file_upload(form: Mapping[str, str]) -> FileUpload:
    """Args:
        form: the fields but for the file itself.

    Raises:
        APIError: 400, naming the field.
    """
    for name in form:
        if name not in _FIELDS:
            raise invalid_request(f"Unknown parameter: '{name[:80]}'.", name[:80], "unknown_parameter")
    if "purpose" not in form:
        raise missing("purpose")
    if form["purpose"] not in PURPOSES:
        raise not_supported("purpose", form["purpose"], PURPOSES)
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return FileUpload(form["purpose"], None)
    if anchor is None:
        raise missing("expires_after[anchor]")
    if seconds is None:
        raise missing("expires_after[seconds]")
    if anchor != "created_at":
        raise not_supported("expires_after[anchor]", anchor, ["created_at"])
    if not seconds.isascii() or not seconds.isdigit() or len(seconds) > 9 or not _SHORTEST <= int(seconds) <= _LONGEST:
        raise invalid_request(
            f"Invalid 'expires_after[seconds]': expected a number from {_SHORTEST} to {_LONGEST}, but got "
            f"'{seconds[:40]}'.",
            "expires_after[seconds]",
            "invalid_value",
        )
    return FileUpload(form["purpose"], int(seconds))
