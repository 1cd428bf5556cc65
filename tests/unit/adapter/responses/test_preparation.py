"""What a request refers to: found once, bounded, and never run twice."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.errors import APIError
from adapter.responses.preparation import Opener, calls_to_run
from adapter.security.sealing import Sealer


class Kept:
    """Stands for the archive: items by id, and how often they were asked for."""

    def __init__(self, **items: dict[str, Any]) -> None:
        self.items = items
        self.asked = 0

    async def find_item(self, owner: str, item_id: str) -> dict[str, Any] | None:
        self.asked += 1
        return self.items.get(item_id)


def message(item_id: str, text: str) -> dict[str, Any]:
    return {"type": "message", "id": item_id, "role": "user", "content": [{"type": "input_text", "text": text}]}


def reference(item_id: str) -> dict[str, Any]:
    return {"type": "item_reference", "id": item_id}


def opener(kept: Kept) -> Opener:
    return Opener(kept, Sealer(bytes(32)), "key")  # type: ignore[arg-type]


async def test_an_item_is_looked_up_once_however_often_it_is_meant() -> None:
    kept = Kept(msg_1=message("msg_1", "hello"))
    assert await opener(kept).resolve([reference("msg_1")] * 3, {}) == [message("msg_1", "hello")] * 3
    assert kept.asked == 1


async def test_references_stand_for_a_bounded_size() -> None:
    """A small body must not become a prompt of gigabytes."""
    large = message("msg_1", "x" * (1 << 20))
    with pytest.raises(APIError) as caught:
        await opener(Kept()).resolve([large, *[reference("msg_1")] * 4000], {})
    assert (caught.value.status, caught.value.code) == (400, "input_too_large")
    assert caught.value.param is not None and caught.value.param.startswith("input[3")


async def test_a_reference_to_nothing_is_a_404_that_names_it() -> None:
    with pytest.raises(APIError) as caught:
        await opener(Kept()).resolve([message("msg_1", "a"), reference("msg_2")], {})
    assert (caught.value.status, caught.value.param) == (404, "input[1].id")


ASKED = {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "bank", "name": "pay", "arguments": "{}"}
ANSWER = {"type": "mcp_approval_response", "id": "mcpa_1", "approval_request_id": "mcpr_1", "approve": True}


def test_an_approved_call_is_run() -> None:
    approved, refused = calls_to_run([ASKED], [ANSWER])
    assert [call["approval_request_id"] for call in approved] == ["mcpr_1"] and not refused


def test_an_approved_call_is_not_run_again() -> None:
    """A client that keeps the history itself sends request, answer and call each time."""
    call = {"type": "mcp_call", "id": "mcp_1", "approval_request_id": "mcpr_1", "output": "paid"}
    assert calls_to_run([], [ASKED, ANSWER, call]) == ([], [])


def test_a_refusal_is_told_to_the_model() -> None:
    approved, refused = calls_to_run([ASKED], [{**ANSWER, "approve": False, "reason": "too much"}])
    assert not approved and "too much" in refused[0]["error"]


def test_an_answer_to_no_request() -> None:
    with pytest.raises(APIError) as caught:
        calls_to_run([], [ANSWER])
    assert (caught.value.status, caught.value.param) == (400, "input[0].approval_request_id")
