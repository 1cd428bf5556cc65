"""From a request to what is asked of the model: everything that it refers to is found, opened and put in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from adapter.encoding.output_items import new_id
from adapter.errors import invalid_request, not_found
from adapter.responses.archive import Archive
from adapter.security.sealing import SealBroken, Sealer

Item = dict[str, Any]

_MOST_COPIED = 32 << 20  # bytes of items that the references of one request may stand for
_LONGEST_CONTEXT = 4096  # items that a prompt may be made of
REASONING, COMPACTION = "reasoning", "compaction"  # kinds of sealed content


class Opener:
    """Makes items readable for the model.

    Args:
        owner: only what was sealed for this key can be opened, only its files are there.
    """

    def __init__(self, archive: Archive, sealer: Sealer, owner: str) -> None:
        self._archive = archive
        self._sealer = sealer
        self._owner = owner

    async def resolve(self, items: Sequence[Item], near: Mapping[str, Item], param: str = "input") -> list[Item]:
        """The items with those in place of the references that they refer to: they are kept, and listed, like that.

        Args:
            near: items by id that need not be looked up.
            param: the request's field that has the items, for errors.

        Raises:
            APIError: 404, there is none of that id.
        """
        known = {**near, **{item["id"]: item for item in items if item["type"] != "item_reference"}}
        resolved = []
        copied = 0
        for index, item in enumerate(items):
            if item["type"] == "item_reference":
                found = known.get(item["id"]) or await self._archive.find_item(self._owner, item["id"])
                if found is None:
                    raise not_found(f"Item with id '{item['id']}' not found.", f"{param}[{index}].id", "item_not_found")
                known[item["id"]] = found
                copied += len(orjson.dumps(found))
                if copied > _MOST_COPIED:
                    message = f"The items that '{param}' refers to take more than {_MOST_COPIED:,} bytes."
                    raise invalid_request(message, f"{param}[{index}].id", "input_too_large")
                item = found
            resolved.append(item)
        return resolved

    def read(self, items: Sequence[Item]) -> list[Item]:
        """The items as the model is to see them: sealed reasoning opened, compactions spread out.

        Raises:
            APIError: 400, sealed content was not made here for this key; there are too many items.
        """
        readable: list[Item] = []
        for item in items:
            if item["type"] == "reasoning" and not item.get("content") and item.get("encrypted_content"):
                text = self._open(REASONING, item).decode()
                readable.append({**item, "content": [{"type": "reasoning_text", "text": text}]})
            elif item["type"] == "compaction":
                readable += orjson.loads(self._open(COMPACTION, item))
            else:
                readable.append(item)
        if len(readable) > _LONGEST_CONTEXT:
            raise invalid_request(
                f"The conversation has {len(readable)} items; this server reads up to {_LONGEST_CONTEXT}. Compact it "
                "with /v1/responses/compact, or begin anew.",
                "input",
                "too_many_items",
            )
        return readable

    def _open(self, kind: str, item: Item) -> bytes:
        try:
            return self._sealer.open(self._owner, kind, item["encrypted_content"])
        except SealBroken as error:
            raise invalid_request(
                f"The encrypted content for item {item['id']} could not be verified.",
                "input",
                "invalid_encrypted_content",
            ) from error


def calls_to_run(context: Sequence[Item], items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """What the client's answers to approval requests come to: calls to run now, and calls that were refused.

    Raises:
        APIError: 400, an answer to no request.
    """
    asked = {item["id"]: item for item in [*context, *items] if item["type"] == "mcp_approval_request"}
    # A client that keeps the history itself sends all of it each time.
    done = {item.get("approval_request_id") for item in [*context, *items] if item["type"] == "mcp_call"}
    approved, refused = [], []
    for index, item in enumerate(items):
        if item["type"] != "mcp_approval_response":
            continue
        request = asked.get(item["approval_request_id"])
        if request is None:
            message = f"No approval request found with id '{item['approval_request_id']}'."
            raise invalid_request(message, f"input[{index}].approval_request_id", "invalid_value")
        if request["id"] in done:
            continue
        call = {
            "type": "mcp_call",
            "id": new_id("mcp_"),
            "server_label": request["server_label"],
            "name": request["name"],
            "arguments": request["arguments"],
            "output": None,
            "error": None,
            "approval_request_id": request["id"],
            "status": "in_progress",
        }
        if item["approve"]:
            approved.append(call)
        else:
            reason = item.get("reason")
            error = f"The user did not allow this call{f': {reason}' if reason else ''}."
            refused.append({**call, "status": "failed", "error": error})
    return approved, refused
