"""The tool, over a search whose results are known; the search itself has its tests with the real model."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapter.encoding.response_writer import PendingCall
from adapter.errors import not_found
from adapter.retrieval.search import Found
from adapter.schema.response_tools import FileSearch
from adapter.tools.citations import SourceNumbers
from adapter.tools.file_search import FileSearchToolbox

ASKED = FileSearch("tools[1]", ("vs_1",), 7, 0.25, None)
FOUND = [
    Found("file-1", "a.txt", 0.9, "First.", {"n": 1}),
    Found("file-2", "b.txt", 0.8, "Second.", {}),
    Found("file-1", "a.txt", 0.7, "Third.", {"n": 1}),
]


class KnownSearch:
    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.gone = False
        self.found = FOUND

    async def stores(self, owner: str, ids: Any, param: str) -> list[str]:
        if self.gone:
            raise not_found("Vector store with id 'vs_1' not found.", param)
        return [f"{owner}/{id}" for id in ids]

    async def search(self, owner: str, stores: Any, queries: Any, **options: Any) -> list[Found]:
        self.asked.append({"owner": owner, "stores": stores, "queries": queries, **options})
        return self.found


def box(search: KnownSearch, *, show: bool = False, numbers: SourceNumbers | None = None) -> FileSearchToolbox:
    return FileSearchToolbox(ASKED, search, "ann", numbers or SourceNumbers(), show_results=show)  # type: ignore[arg-type]


def pending(arguments: str) -> PendingCall:
    item: dict[str, Any] = {
        "type": "file_search_call",
        "id": "fs_1",
        "status": "in_progress",
        "queries": [],
        "results": None,
    }
    return PendingCall(item, "file_search", "file_search", arguments)


def asking(*queries: str) -> PendingCall:
    return pending(orjson.dumps({"queries": queries}).decode())


async def test_call() -> None:
    search = KnownSearch()
    outcome = await box(search).call(asking("x", "y"))
    assert not outcome.failed
    assert outcome.item == {
        "type": "file_search_call",
        "id": "fs_1",
        "status": "completed",
        "queries": ["x", "y"],
        "results": None,
    }
    told = outcome.told["results"]
    assert [(one["number"], one["file_id"], one["text"]) for one in told] == [
        (1, "file-1", "First."),
        (2, "file-2", "Second."),
        (3, "file-1", "Third."),
    ]
    (asked,) = search.asked
    assert (asked["owner"], asked["stores"], asked["queries"]) == ("ann", ["ann/vs_1"], ["x", "y"])
    assert (asked["most"], asked["threshold"], asked["filters"]) == (7, 0.25, None)


async def test_results_are_in_the_item_where_they_are_asked_for() -> None:
    outcome = await box(KnownSearch(), show=True).call(asking("x"))
    assert outcome.item["results"][0] == {
        "file_id": "file-1",
        "filename": "a.txt",
        "score": 0.9,
        "text": "First.",
        "attributes": {"n": 1},
    }


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"queries": "x"}',
        '{"queries": []}',
        '{"queries": ["a", "b", "c", "d", "e"]}',
        '{"queries": [" "]}',
        '{"queries": [1]}',
        orjson.dumps({"queries": ["x" * 1025]}).decode(),
    ],
)
async def test_the_model_is_told_what_is_wrong_with_its_arguments(arguments: str) -> None:
    search = KnownSearch()
    outcome = await box(search).call(pending(arguments))
    assert outcome.failed and outcome.item["status"] == "failed" and "queries" in outcome.told["error"]
    assert not search.asked


async def test_vector_store_that_is_not_there() -> None:
    search = KnownSearch()
    search.gone = True
    with pytest.raises(Exception, match="vs_1") as raised:
        await box(search).check()
    assert raised.value.param == "tools[1].vector_store_ids"  # type: ignore[attr-defined]
    outcome = await box(search).call(asking("x"))  # deleted meanwhile
    assert outcome.failed and outcome.told["error"] == "Vector store with id 'vs_1' not found."


async def test_citations() -> None:
    toolbox = box(KnownSearch())
    assert toolbox.citations("Nothing was searched [1].") == []
    await toolbox.call(asking("x"))
    text = "One [2], two 【1】, none [9]."
    assert toolbox.citations(text) == [
        {"type": "file_citation", "file_id": "file-2", "filename": "b.txt", "index": text.index("[2]")},
        {"type": "file_citation", "file_id": "file-1", "filename": "a.txt", "index": text.index("【")},
    ]
    assert toolbox.citations("No number.") == [
        {"type": "file_citation", "file_id": "file-1", "filename": "a.txt", "index": 10},
        {"type": "file_citation", "file_id": "file-2", "filename": "b.txt", "index": 10},
    ]


async def test_numbers_go_on_through_the_response() -> None:
    numbers, search = SourceNumbers(), KnownSearch()
    numbers.number("https://example.org/")
    toolbox = box(search, numbers=numbers)
    await toolbox.call(asking("x"))
    search.found = [Found("file-3", "c.txt", 0.5, "New.", {}), FOUND[1]]
    outcome = await toolbox.call(asking("y"))
    assert [one["number"] for one in outcome.told["results"]] == [5, 3]
    assert toolbox.citations("The page [1].") == []
    assert [one["file_id"] for one in toolbox.citations("[5][4][3][2]")] == ["file-3", "file-1", "file-2", "file-1"]
