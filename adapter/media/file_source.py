"""Where a file part says that its file is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from adapter.errors import invalid_request

FileContent = Callable[[str], Awaitable[tuple[str, bytes] | None]]
"""The name and the bytes of a file that is kept here, by its id; None: there is no such file."""

_FIELDS: tuple[Literal["file_data", "file_url", "file_id"], ...] = ("file_data", "file_url", "file_id")


@dataclass(frozen=True)
class FileSource:
    """value: a data URL or base64 (`file_data`), a URL, or an id. place: of that field in the request, for errors."""

    field: Literal["file_data", "file_url", "file_id"]
    value: str
    filename: str | None
    place: str


def file_source(part: Mapping[str, Any], place: str | None) -> FileSource:
    """Args:
        part: with `filename` and one of `file_data`, `file_url` and `file_id`.
        place: of the part in the request; None: it is not in this request, but in what its `input` goes on from.

    Raises:
        APIError: 400, the part names no file, or several.
    """
    given = [field for field in _FIELDS if part.get(field)]
    if not given:
        param = f"{place}.file_data" if place is not None else "input"
        raise invalid_request(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
    param = f"{place}.{given[-1]}" if place is not None else "input"
    if len(given) > 1:
        message = f"'{given[0]}' and '{given[-1]}' cannot be given together: a part is one file."
        raise invalid_request(message, param, "invalid_parameter_combination")
    return FileSource(given[0], part[given[0]], part.get("filename"), param)


async def kept_file(file_id: str, place: str, file_content: FileContent | None) -> tuple[str, bytes]:
    """Name and bytes of a file that is kept here.

    Raises:
        APIError: 400, there is no such file, or no place where files are kept.
    """
    if file_content is None:
        message = f"Invalid '{place}': this server keeps no files. Send the content itself."
        raise invalid_request(message, place, "unsupported_parameter")
    found = await file_content(file_id)
    if found is None:
        raise invalid_request(f"The file of '{place}' does not exist.", place, "file_not_found")
    return found
