"""`/v1/files`."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from openai.types import FileObject
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from adapter.encoding.output_items import new_id
from adapter.errors import APIError, invalid_request, not_found, overloaded, too_large
from adapter.routes.json_answer import json_answer
from adapter.routes.pages import list_object, page_query
from adapter.schema.files import PURPOSES, FileUpload, parse_file_upload
from adapter.schema.violations import missing
from adapter.services import Services, services_and_owner
from adapter.store.errors import RecordTooLarge
from adapter.store.files import File
from adapter.store_failures import store_errors

router = APIRouter(tags=["files"])

_PATH = "/v1/files"
_MOST_UPLOADS = 8  # at a time: each is in memory once, when it is kept
_MOST_FIELDS = 8
_LONGEST_FIELD = 4096  # bytes
_LONGEST_NAME = 255  # characters

_FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": PURPOSES},
        "expires_after": {
            "type": "object",
            "required": ["anchor", "seconds"],
            "properties": {"anchor": {"type": "string", "enum": ["created_at"]}, "seconds": {"type": "integer"}},
        },
    },
}


class _Uploads:
    """How many there are at the moment."""

    def __init__(self) -> None:
        self._running = 0

    def __enter__(self) -> None:
        if self._running >= _MOST_UPLOADS:
            raise overloaded(f"This server takes {_MOST_UPLOADS} files at a time. Try again soon.")
        self._running += 1

    def __exit__(self, *raised: object) -> None:
        self._running -= 1


_uploads = _Uploads()


@router.post(
    _PATH,
    summary="Upload a file",
    response_class=Response,
    responses={200: {"model": FileObject}},
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def create_file(request: Request) -> Response:
    """Keeps a file, for `input_file` and `input_image` parts by `file_id` and for vector stores."""
    services, owner = services_and_owner(request)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "multipart/form-data":
        message = f"The content-type has to be `multipart/form-data`; it is `{content_type[:80]}`."
        raise APIError(415, message, code="unsupported_media_type")
    with _uploads:
        async with request.form(max_files=1, max_fields=_MOST_FIELDS, max_part_size=_LONGEST_FIELD) as form:
            return json_answer(await _kept(services, owner, form))


async def _kept(services: Services, owner: str, form: FormData) -> dict[str, Any]:
    names = [name for name, _ in form.multi_items()]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise invalid_request(f"'{repeated[:80]}' is given more than once.", repeated[:80], "invalid_value")
    upload = form.get("file")
    if upload is None:
        raise missing("file")
    if not isinstance(upload, UploadFile):
        raise invalid_request("Invalid 'file': expected a file with a name, but got text.", "file", "invalid_type")
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    if len(fields) < len(names) - 1:
        raise invalid_request("Only 'file' can be a file.", None, "invalid_type")
    wanted = parse_file_upload(fields)
    name = upload.filename or "file"
    if len(name) > _LONGEST_NAME:
        message = f"The name of the file has {len(name)} characters; {_LONGEST_NAME} are taken."
        raise invalid_request(message, "file", "string_above_max_length")
    most = services.settings.max_file_bytes
    if (upload.size or 0) > most:
        raise too_large(f"The file is larger than the {most:,} bytes that this server takes.")
    return _object(await _insert(services, owner, name, wanted, await upload.read()))


async def _insert(services: Services, owner: str, name: str, wanted: FileUpload, content: bytes) -> File:
    expires_at = None if wanted.expires_after is None else services.store.now() + wanted.expires_after
    with store_errors():
        try:
            return await services.store.files.insert(
                owner, new_id("file-"), name, wanted.purpose, content, expires_at=expires_at
            )
        except RecordTooLarge as error:
            raise too_large(str(error)) from error


@router.get(_PATH, summary="List files", response_class=Response)
async def list_files(request: Request) -> Response:
    """Newest first unless `order=asc`; those of one `purpose`, where it is given."""
    services, owner = services_and_owner(request)
    query = page_query(request, default=10_000, most=10_000)
    with store_errors():
        page = await services.store.files.list(
            owner,
            purpose=request.query_params.get("purpose"),
            after=query.after,
            limit=query.limit,
            order=query.order,
        )
    return json_answer(list_object([_object(file) for file in page.entries], page.has_more))


@router.get(
    _PATH + "/{file_id}", summary="Retrieve a file", response_class=Response, responses={200: {"model": FileObject}}
)
async def retrieve_file(request: Request, file_id: str) -> Response:
    services, owner = services_and_owner(request)
    with store_errors():
        found = await services.store.files.get(owner, file_id)
    if found is None:
        raise no_file(file_id)
    return json_answer(_object(found))


@router.delete(_PATH + "/{file_id}", summary="Delete a file", response_class=Response)
async def delete_file(request: Request, file_id: str) -> Response:
    """It leaves its vector stores, too."""
    services, owner = services_and_owner(request)
    with store_errors():
        gone = await services.store.files.delete(owner, file_id)
    if not gone:
        raise no_file(file_id)
    return json_answer({"id": file_id, "object": "file", "deleted": True})


@router.get(_PATH + "/{file_id}/content", summary="Retrieve the content of a file", response_class=Response)
async def retrieve_content(request: Request, file_id: str) -> Response:
    """The bytes, as they were uploaded."""
    services, owner = services_and_owner(request)
    with store_errors():
        found = await services.store.files.get(owner, file_id)
        content = await services.store.files.content(owner, file_id) if found is not None else None
    if found is None or content is None:
        raise no_file(file_id)
    # A browser is to keep it, whatever it is, and not to show it as a page of this server.
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(found.filename, safe='')}",
        "x-content-type-options": "nosniff",
    }
    return Response(content, headers=headers, media_type="application/octet-stream")


def no_file(file_id: str, param: str = "id") -> APIError:
    """404, as OpenAI words it."""
    return not_found(f"No such File object: {file_id}", param)


def _object(file: File) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "expires_at": None if file.expires_at is None else int(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }
