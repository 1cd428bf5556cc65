"""Search in vector stores as a tool that this server runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from adapter.encoding.response_writer import CallForm, PendingCall
from adapter.errors import APIError
from adapter.parsing.tool_format import Tool
from adapter.retrieval.search import Found, VectorSearch
from adapter.schema.response_tools import FileSearch
from adapter.schema.tool_choice import HostedTool
from adapter.tools.citations import SourceNumbers, markers
from adapter.tools.toolbox import CallOutcome, Item, Offer

NAME = "file_search"
RESULTS = "file_search_call.results"
"""What `include` names to have the results in the item."""
_MOST_QUERIES = 4
_LONGEST_QUERY = 1024  # characters
_DESCRIPTION = (
    "Searches the user's files. Results come with numbers: after each statement that is from a result, cite it by its "
    "number in brackets, such as [1]."
)
_PARAMETERS = {
    "type": "object",
    "properties": {
        "queries": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "maxItems": _MOST_QUERIES,
            "description": "What to look for, each query in words that the files may use.",
        }
    },
    "required": ["queries"],
    "additionalProperties": False,
}


class FileSearchToolbox:
    """A Toolbox with one tool.

    Args:
        numbers: of the response; the same for all of its toolboxes.
        show_results: the client asked for `RESULTS`.
    """

    def __init__(
        self, asked: FileSearch, search: VectorSearch, owner: str, numbers: SourceNumbers, *, show_results: bool
    ) -> None:
        self._asked = asked
        self._search = search
        self._owner = owner
        self._show_results = show_results
        self._numbers = numbers
        self._told: dict[int, Found] = {}  # by number

    async def check(self) -> None:
        """To be called before anything is told to the client.

        Raises:
            APIError: 404, one of the vector stores is not there.
        """
        place = f"{self._asked.place}.vector_store_ids"
        await self._search.stores(self._owner, self._asked.vector_store_ids, place)

    def announcement(self, known: Sequence[Item]) -> Item | None:
        return None

    async def open(self, announcement: Item | None) -> Item | None:
        return None

    def offers(self) -> Sequence[Offer]:
        tool = Tool(NAME, _DESCRIPTION, _PARAMETERS)
        return [Offer(tool, self._asked.place, CallForm("file_search", NAME), HostedTool("file_search"))]

    async def call(self, call: PendingCall) -> CallOutcome:
        queries = _queries(call.arguments)
        if queries is None:
            message = (
                f"The arguments have to be a JSON object with 'queries': 1 to {_MOST_QUERIES} strings of 1 to "
                f"{_LONGEST_QUERY} characters."
            )
            return _failed(call, [], message)
        asked = self._asked
        try:
            place = f"{asked.place}.vector_store_ids"
            found = await self._search.search(
                self._owner,
                await self._search.stores(self._owner, asked.vector_store_ids, place),
                queries,
                filters=asked.filters,
                most=asked.max_num_results,
                threshold=asked.score_threshold,
                params=[f"queries[{index}]" for index in range(len(queries))],
            )
        except APIError as error:
            return _failed(call, queries, error.message)
        item = {**call.item, "status": "completed", "queries": queries}
        results = [_result(one) for one in found]
        told = [{"number": self._number(one), **result} for one, result in zip(found, results, strict=True)]
        return CallOutcome({**item, "results": results if self._show_results else None}, {**item, "results": told})

    def citations(self, text: str) -> list[Item]:
        """The `file_citation` of each `[number]` in the text; indices are of characters.

        A text without any number cites each file once, at its end: it was written with them at hand.
        """
        cited = list(markers(text))
        if not cited:
            files = {found.file_id: found for found in self._told.values()}
            return [_citation(found, len(text)) for found in files.values()]
        return [_citation(self._told[marker.number], marker.start) for marker in cited if marker.number in self._told]

    async def aclose(self) -> None:
        pass

    def _number(self, found: Found) -> int:
        number = self._numbers.number((found.file_id, found.text))
        self._told[number] = found
        return number


def _queries(arguments: str) -> list[str] | None:
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None
    queries = given.get("queries") if isinstance(given, dict) else None
    if not isinstance(queries, list) or not 1 <= len(queries) <= _MOST_QUERIES:
        return None
    if not all(isinstance(query, str) and query.strip() and len(query) <= _LONGEST_QUERY for query in queries):
        return None
    return queries


def _result(found: Found) -> dict[str, Any]:
    return {
        "file_id": found.file_id,
        "filename": found.filename,
        "score": found.score,
        "text": found.text,
        "attributes": found.attributes,
    }


def _citation(found: Found, index: int) -> dict[str, Any]:
    return {"type": "file_citation", "file_id": found.file_id, "filename": found.filename, "index": index}


def _failed(call: PendingCall, queries: list[str], message: str) -> CallOutcome:
    item = {**call.item, "status": "failed", "queries": queries, "results": None}
    return CallOutcome(item, {**item, "error": message}, failed=True)
