"""The last response of a connection, at hand although it may not have been stored."""

from __future__ import annotations

from typing import Any

from adapter.responses.recording import Recording

Item = dict[str, Any]


class Memory:
    """Holds one response: the one that a client that goes on, goes on from."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._items: list[Item] = []

    def keep(self, recording: Recording) -> None:
        """Takes it in the place of the last one; one that failed is not gone on from."""
        ask, body = recording.ask, recording.writer.body
        if body["status"] in ("completed", "incomplete"):
            self._id, self._items = ask.response_id, [*ask.context, *ask.read, *body["output"]]
        else:
            self._id, self._items = None, []

    def get(self, response_id: str) -> list[Item] | None:
        """The conversation up to and with that response, as the model is to see it; None: it is not the last one."""
        return self._items if response_id == self._id else None
