"""The store's failures with vector stores, as errors for the client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from adapter.errors import invalid_request
from adapter.routes.files import no_file
from adapter.store.errors import StoreFull, UnknownFile
from adapter.store_failures import store_errors


@contextlib.contextmanager
def vector_store_errors(param: str) -> Iterator[None]:
    """Args:
    param: the field that names files.

    Raises:
        APIError: 404, a file is not there; 400, there are too many; or as `store_errors` has it.
    """
    with store_errors():
        try:
            yield
        except UnknownFile as error:
            raise no_file(error.file_id, param) from error
        except StoreFull as error:
            raise invalid_request(str(error), None, "too_many_objects") from error
