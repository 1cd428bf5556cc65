from __future__ import annotations

from typing import Any

import pytest

from adapter.retrieval.attributes import passes
from adapter.schema.attribute_filters import attribute_filter

ATTRIBUTES: dict[str, str | float | bool] = {"author": "ann", "year": 2020, "draft": True, "score": 1.5}


def one(operator: str, key: str, value: Any) -> dict[str, Any]:
    return {"type": operator, "key": key, "value": value}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (one("eq", "author", "ann"), True),
        (one("eq", "author", "bob"), False),
        (one("ne", "author", "bob"), True),
        (one("ne", "author", "ann"), False),
        (one("eq", "year", 2020.0), True),
        (one("gt", "year", 2020), False),
        (one("gte", "year", 2020), True),
        (one("lt", "year", 2021.5), True),
        (one("lte", "year", 2019), False),
        (one("gt", "author", "aaa"), True),
        (one("in", "author", ["bob", "ann"]), True),
        (one("in", "author", ["bob"]), False),
        (one("nin", "author", ["bob"]), True),
        (one("nin", "year", [2020]), False),
        (one("eq", "draft", True), True),
        (one("eq", "draft", 1), False),
        (one("eq", "year", "2020"), False),
        (one("gt", "draft", 0), False),
        (one("gt", "author", 1), False),
        (one("eq", "missing", "x"), False),
        (one("lt", "missing", 9), False),
        (one("ne", "missing", "x"), True),
        (one("nin", "missing", ["x"]), True),
        (one("in", "missing", ["x"]), False),
        ({"type": "and", "filters": [one("eq", "author", "ann"), one("eq", "year", 2020)]}, True),
        ({"type": "and", "filters": [one("eq", "author", "ann"), one("eq", "year", 2021)]}, False),
        ({"type": "or", "filters": [one("eq", "author", "bob"), one("eq", "year", 2020)]}, True),
        ({"type": "or", "filters": [one("eq", "author", "bob"), one("eq", "year", 2021)]}, False),
        (
            {
                "type": "and",
                "filters": [
                    {"type": "or", "filters": [one("eq", "author", "bob"), one("eq", "author", "ann")]},
                    one("gt", "score", 1),
                ],
            },
            True,
        ),
    ],
)
def test_filter(wanted: dict[str, Any], expected: bool) -> None:
    parsed = attribute_filter(wanted, "filters")
    assert parsed is not None
    assert passes(ATTRIBUTES, parsed) is expected
