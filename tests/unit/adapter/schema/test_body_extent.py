"""Bodies of very many small things are refused before they are parsed; what only looks like it is not."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from adapter.errors import APIError
from adapter.schema import body_extent
from adapter.schema.body import parse_json
from adapter.schema.body_extent import MOST_COMMAS, MOST_CONTAINERS, MOST_STRINGS, check_extent

USER = {"role": "user", "content": "x"}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TEXTS = ["", "a", '"', "\\", '\\"', '{"a": [1, 2]}, ', "é,\n", "\\\\", "]}", 'x"{,']


def refused(raw: bytes) -> APIError:
    with pytest.raises(APIError) as caught:
        parse_json(raw)
    assert (caught.value.status, caught.value.code) == (400, "too_many_elements")
    return caught.value


@pytest.mark.parametrize(
    ("body", "field", "count"),
    [
        ({"messages": [USER, {"role": "assistant", "tool_calls": [CALL] * 40_000}]}, "messages", MOST_STRINGS),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}] * 70_000}]},
            "messages",
            MOST_STRINGS,
        ),
        ({"messages": [USER], "logit_bias": {str(n): 1 for n in range(270_000)}, "n": 1}, "logit_bias", MOST_STRINGS),
        ({"model": "m", "input": [USER] * 70_000}, "input", MOST_STRINGS),
        ({"model": "m", "input": ["a"] * 270_000, "user": "x"}, "input", MOST_STRINGS),
        ({"model": "m", "input": [7] * 1_400_000}, "input", MOST_COMMAS),
        ({"model": "m", "input": [[]] * 140_000}, "input", MOST_CONTAINERS),
        ({"messages": [USER], "stop": ["a"] * 270_000}, "stop", MOST_STRINGS),
        ({"messages": [USER], "tools": [{"a": 1}] * 140_000}, "tools", MOST_CONTAINERS),
        ({"messages": [USER], "metadata": {str(n): "" for n in range(140_000)}}, "metadata", MOST_STRINGS),
        ({f'a"{n}': 1 for n in range(270_000)}, 'a"', MOST_STRINGS),
    ],
)
def test_too_many_things_are_refused_unparsed_by_the_name_of_the_field(
    body: dict[str, Any], field: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = orjson.dumps(body)
    parser = SimpleNamespace(loads=lambda raw: pytest.fail("it was parsed"), JSONDecodeError=orjson.JSONDecodeError)
    monkeypatch.setattr("adapter.schema.body.orjson", parser)
    error = refused(raw)
    assert str(count) in error.message
    assert error.param is not None and error.param.startswith(field)


def test_as_much_within_strings_counts_as_one() -> None:
    text = '{"a": [1, 2]}, "b\\"c\\\\", ' * 100_000
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    assert parse_json(orjson.dumps(body)) == body


def test_the_token_ids_that_a_request_may_have_are_parsed() -> None:
    assert len(parse_json(orjson.dumps({"prompt": list(range(1 << 20))}))["prompt"]) == 1 << 20


def _logprob(top: int) -> dict[str, Any]:
    one: dict[str, Any] = {"token": " the", "logprob": -1.2, "bytes": [32, 116, 104, 101]}
    return {**one, "top_logprobs": [one] * top}


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [CALL]}, {**USER, "id": "a"}] * 8192},
        {"input": [{"role": "assistant", "content": [{"type": "output_text", "logprobs": [_logprob(20)] * 2048}]}]},
        {"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}] * 16_384},
        {"input": [[7] * 512] * 2048},
        {"messages": [USER], "tools": [{"name": "f", "enum": [f"value {n}" for n in range(100)]}] * 1024},
        {"messages": [USER], "logit_bias": {str(n): 1 for n in range(65_536)}},
    ],
    ids=["messages", "logprobs", "items", "token ids", "tools", "logit_bias"],
)
def test_the_largest_that_other_limits_allow_is_parsed(body: dict[str, Any]) -> None:
    assert parse_json(orjson.dumps(body)) == body


def test_of_brackets_that_only_close_the_parser_tells_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where millions of them stood, to find the field in which there is too much took a second."""
    monkeypatch.setattr(body_extent, "_too_many", lambda *_: pytest.fail("the field was looked for"))
    with pytest.raises(APIError, match="could not parse"):
        parse_json(b'{"a":[' + b"]" * (1 << 20) + b"[" * (MOST_CONTAINERS + 1))


@pytest.mark.parametrize("spaced", [False, True])
def test_counts_are_exact_wherever_the_bytes_are_divided(spaced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)
    monkeypatch.setattr(body_extent, "_COUNTED_FROM", 0)
    for _ in range(200):
        body = {f"k{number}": _random_value(chance, 4) for number in range(chance.randint(1, 4))}
        raw = json.dumps(body, indent=2 if spaced else None, ensure_ascii=chance.random() < 0.5).encode()
        containers, strings, commas = _counts(body)
        monkeypatch.setattr(body_extent, "_STEP", chance.randint(1, 40))
        for name, count in (("CONTAINERS", containers), ("STRINGS", strings), ("COMMAS", commas)):
            monkeypatch.setattr(body_extent, f"MOST_{name}", count)
        check_extent(raw)
        for name, count in (("CONTAINERS", containers), ("STRINGS", strings), ("COMMAS", commas)):
            monkeypatch.setattr(body_extent, f"MOST_{name}", count - 1)
            if count:
                with pytest.raises(APIError) as caught:
                    check_extent(raw)
                # Before the first field's name is complete there is no field yet.
                assert caught.value.param is None or caught.value.param in body
            monkeypatch.setattr(body_extent, f"MOST_{name}", count)


@pytest.mark.parametrize("raw", [b"]" * 200_000, b'"' * 300_000, b"[" * 200_000, b"{," * 200_000, b'{"a\\' * 200_000])
def test_what_is_no_json_gets_an_error_too(raw: bytes) -> None:
    with pytest.raises(APIError) as caught:
        parse_json(raw)
    assert caught.value.status == 400


def _random_value(chance: random.Random, depth: int) -> Any:
    kind = chance.randint(0, 5 if depth else 3)
    if kind == 4:
        return [_random_value(chance, depth - 1) for _ in range(chance.randint(0, 4))]
    if kind == 5:
        return {f"{n}{chance.choice(TEXTS)}": _random_value(chance, depth - 1) for n in range(chance.randint(0, 4))}
    return [None, True, chance.randint(-9, 9), chance.choice(TEXTS)][kind]


def _counts(value: Any) -> tuple[int, int, int]:
    """Objects and arrays, strings, commas between elements."""
    if isinstance(value, str):
        return 0, 1, 0
    if not isinstance(value, (dict, list)):
        return 0, 0, 0
    parts = list(map(_counts, value.values() if isinstance(value, dict) else value))
    names = len(value) if isinstance(value, dict) else 0
    return (
        1 + sum(part[0] for part in parts),
        names + sum(part[1] for part in parts),
        max(len(value) - 1, 0) + sum(part[2] for part in parts),
    )
