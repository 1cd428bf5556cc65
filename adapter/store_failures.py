"""The store's failures as errors for the client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from adapter.errors import APIError, invalid_request
from adapter.store.errors import (
    ConversationTooLong,
    HistoryError,
    ItemExists,
    RecordTooLarge,
    StoreError,
    StoreFull,
    UnknownCursor,
)


class HistoryFailed(Exception):
    """The chain of previous responses cannot be had: what that means for the client, who asks for one knows."""

    def __init__(self, error: HistoryError) -> None:
        super().__init__(str(error))
        self.error = error


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Raises APIError for the store's failures, but for those of a history."""
    try:
        yield
    except HistoryError as error:
        raise HistoryFailed(error) from error
    except ConversationTooLong as error:
        raise invalid_request(f"{error} Begin a new one.", "conversation", "conversation_too_long") from error
    except UnknownCursor as error:
        raise invalid_request(f"Invalid 'after': {error}", "after", "invalid_value") from error
    except ItemExists as error:
        raise invalid_request(str(error), "items", "item_exists") from error
    except RecordTooLarge as error:
        raise APIError(413, str(error), code="record_too_large") from error
    except StoreFull as error:
        raise APIError(507, str(error), type="server_error", code="store_full") from error
    except StoreError as error:
        raise APIError(
            503,
            "This server's store cannot be reached. Try again soon.",
            type="server_error",
            code="store_unavailable",
            headers={"retry-after": "1"},
        ) from error
