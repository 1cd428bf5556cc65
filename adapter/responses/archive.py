"""The record of a response in the store, with its conversation; the store's failures as errors for the client."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from typing import Any

import orjson

from adapter.encoding.wire_event import WireEvent
from adapter.errors import APIError, invalid_request, not_found
from adapter.responses.ask import Ask
from adapter.store.errors import AncestorGone, HistoryTooLong, UnknownResponse
from adapter.store.record import Record
from adapter.store.store import Store
from adapter.store_failures import HistoryFailed, store_errors

Item = dict[str, Any]

LEASE = 12.0
"""Seconds after which a response that nobody renews counts as abandoned."""

_MOST_ITEMS = 4096  # of a history
_MOST_RESPONSES = 1024
_MOST_EVENTS = 1024  # read at a time
_ABANDONED = "The server that made this response was stopped before it was complete. Please send the request again."


class Archive:
    """Every method raises APIError: 503, the store cannot be reached; 400, it does not take what is to be kept."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._worker = f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"

    async def insert(self, ask: Ask, body: dict[str, Any], *, background: bool) -> None:
        with store_errors():
            await self._store.responses.insert(
                ask.owner,
                ask.response_id,
                body,
                ask.input,
                background=background,
                conversation_id=ask.conversation_id,
                previous_response_id=ask.request.previous_response_id,
                worker=self._worker,
                lease=LEASE,
            )

    async def append_events(self, response_id: str, events: Sequence[WireEvent]) -> None:
        with store_errors():
            await self._store.events.append(response_id, events)

    async def complete(self, ask: Ask, body: dict[str, Any], events: Sequence[WireEvent], *, stored: bool) -> None:
        """The last of it. What ended without an answer leaves the conversation as it was."""
        kept = body["status"] in ("completed", "incomplete")
        items = [*ask.input, *body["output"]] if ask.conversation_id is not None and kept else []
        with store_errors():
            if stored:
                await self._store.responses.save(
                    ask.response_id, body, running=False, events=events, conversation_items=items
                )
            elif ask.conversation_id is not None:
                await self._store.conversations.append_response(ask.owner, ask.conversation_id, ask.response_id, items)

    async def forget(self, ask: Ask) -> None:
        """It came to nothing before anybody was told of it."""
        with store_errors():
            await self._store.responses.delete(ask.owner, ask.response_id)
            await self._store.responses.save(ask.response_id, {"output": []}, running=False)  # it holds no lease
            await self.unlock(ask.owner, ask.conversation_id, ask.response_id)

    async def get(self, owner: str, response_id: str) -> Record | None:
        with store_errors():
            return await self._store.responses.get(owner, response_id)

    async def delete(self, owner: str, response_id: str) -> bool:
        with store_errors():
            return await self._store.responses.delete(owner, response_id)

    async def request_cancel(self, owner: str, response_id: str) -> Record | None:
        with store_errors():
            return await self._store.responses.request_cancel(owner, response_id)

    async def events(self, owner: str, response_id: str, after: int) -> list[WireEvent]:
        """The next events after the number `after`, those that are there."""
        with store_errors():
            found = await self._store.events.read(owner, response_id, after, _MOST_EVENTS)
        return [WireEvent(*event) for event in found]

    async def history(self, owner: str, response_id: str) -> list[Item]:
        """The conversation up to and with a response: the items of all of its requests and answers.

        Raises:
            APIError: 404, there is no such response; 400, it cannot be gone on from.
        """
        param = "previous_response_id"
        try:
            with store_errors():
                records = await self._store.responses.history(
                    owner, response_id, max_items=_MOST_ITEMS, max_responses=_MOST_RESPONSES
                )
        except HistoryFailed as failed:
            error = failed.error
            if isinstance(error, UnknownResponse):
                message = f"Previous response with id '{response_id}' not found."
                raise not_found(message, param, "previous_response_not_found") from error
            if isinstance(error, AncestorGone):
                message = (
                    f"The response '{response_id}' cannot be continued: the earlier response "
                    f"'{error.response_id}' of its conversation was deleted or has expired."
                )
                raise invalid_request(message, param, "previous_response_not_found") from error
            if isinstance(error, HistoryTooLong):
                message = f"{error} Compact it with /v1/responses/compact, or begin anew."
                raise invalid_request(message, param, "history_too_long") from error
            raise invalid_request(str(error), param, "invalid_history") from error
        last = records[-1]
        if last.running:
            message = f"The response '{response_id}' is not complete yet: wait until its status is 'completed'."
            raise invalid_request(message, param, "previous_response_not_completed")
        status = last.body["status"]
        if status in ("failed", "cancelled"):
            message = f"The response '{response_id}' cannot be continued: its status is '{status}'."
            raise invalid_request(message, param, "previous_response_not_completed")
        return [item for record in records for item in (*record.input_items, *record.body["output"])]

    async def find_item(self, owner: str, item_id: str) -> Item | None:
        with store_errors():
            return await self._store.responses.find_item(owner, item_id)

    async def file(self, owner: str, file_id: str) -> tuple[str, bytes] | None:
        """Name and bytes of a file; None: there is no such file."""
        with store_errors():
            found = await self._store.files.get(owner, file_id)
            content = await self._store.files.content(owner, file_id) if found is not None else None
        return (found.filename, content) if found is not None and content is not None else None

    async def conversation_items(self, owner: str, conversation_id: str) -> list[Item]:
        with store_errors():
            items = await self._store.conversations.all_items(owner, conversation_id, max_items=_MOST_ITEMS)
        if items is None:
            raise no_conversation(conversation_id, "conversation")
        return items

    async def lock(self, owner: str, conversation_id: str, response_id: str) -> None:
        """Raises APIError: 404, there is no such conversation; 400, another response runs in it."""
        with store_errors():
            locked = await self._store.conversations.lock(owner, conversation_id, response_id, LEASE)
        if locked:
            return
        with store_errors():
            known = await self._store.conversations.get(owner, conversation_id)
        if known is None:
            raise no_conversation(conversation_id, "conversation")
        raise invalid_request(
            "Another process is currently operating on this conversation. Please retry in a few seconds.",
            "conversation",
            "conversation_locked",
        )

    async def unlock(self, owner: str, conversation_id: str | None, response_id: str) -> None:
        if conversation_id is not None:
            with store_errors():
                await self._store.conversations.unlock(owner, conversation_id, response_id)

    async def renew(self, response_ids: Sequence[str]) -> set[str]:
        """Says that these still run; those are returned that somebody wants to end."""
        with store_errors():
            return await self._store.responses.renew(response_ids, LEASE)

    async def fail_abandoned(self) -> None:
        """What processes that are gone have left running, has failed."""
        with store_errors():
            await self._store.responses.fail_abandoned(_abandoned, _abandoned_event)

    @property
    def sweep_due(self) -> bool:
        """Whether so much was kept since the last sweep that the next one should not wait."""
        return self._store.sweep_due

    async def sweep(self) -> None:
        with store_errors():
            await self._store.sweep()


def no_conversation(conversation_id: str, param: str | None) -> APIError:
    """404, as OpenAI words it."""
    return not_found(f"Conversation with id '{conversation_id}' not found.", param)


def _abandoned(body: dict[str, Any]) -> dict[str, Any]:
    error = {"code": "server_error", "message": _ABANDONED}
    return {**body, "status": "failed", "error": error, "completed_at": None}


def _abandoned_event(body: dict[str, Any], number: int) -> tuple[str, int, bytes]:
    event = {"type": "response.failed", "sequence_number": number, "response": body}
    return "response.failed", number, orjson.dumps(event)
