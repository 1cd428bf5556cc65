"""What goes wrong with the store, as exceptions. A record that is not there is no failure: it is None."""

from __future__ import annotations


class StoreError(Exception):
    """Any failure of the store; the message is for a person and holds no password."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, or does not take the change now; the same call may succeed later."""


class StoreRefused(StoreError):
    """The store cannot be opened as it is: a URL that means nothing, or a database newer than this program."""


class RecordTooLarge(StoreError):
    """One record is over the limit.

    size, limit: bytes.
    """

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"{what} takes {size} bytes in the store, which keeps at most {limit}.")
        self.size = size
        self.limit = limit


class StoreFull(StoreError):
    """There is no room for another file."""


class HistoryError(StoreError):
    """The chain of previous responses cannot be had. `response_id` is the one at fault."""

    def __init__(self, message: str, response_id: str) -> None:
        super().__init__(message)
        self.response_id = response_id


class UnknownResponse(HistoryError):
    """There is no such response, or it is another owner's."""

    def __init__(self, response_id: str) -> None:
        super().__init__(f"There is no response '{response_id}'.", response_id)


class AncestorGone(HistoryError):
    """A response further back in the chain was deleted, or has expired."""

    def __init__(self, response_id: str) -> None:
        super().__init__(f"The earlier response '{response_id}' was deleted or has expired.", response_id)


class HistoryCycle(HistoryError):
    """The chain comes back to a response that it has passed."""

    def __init__(self, response_id: str) -> None:
        super().__init__(f"The history of the response '{response_id}' leads back to itself.", response_id)


class HistoryTooLong(HistoryError):
    """The chain has more responses, items or bytes than were asked for."""


class ConversationTooLong(StoreError):
    """The conversation has more items or bytes than were asked for."""


class ItemExists(StoreError):
    """The conversation has an item with this id."""

    def __init__(self, item_id: str) -> None:
        super().__init__(f"The conversation already has an item '{item_id}'.")
        self.item_id = item_id


class UnknownCursor(StoreError):
    """A page was asked for after something that is not in the list."""

    def __init__(self, after: str) -> None:
        super().__init__(f"There is no '{after}' in this list.")
        self.after = after


class UnknownFile(StoreError):
    """A file that is to be put into a vector store is not there, or is another owner's."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"There is no file '{file_id}'.")
        self.file_id = file_id
