"""A custom tool's input, out of JSON arguments cut anywhere."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.parsing.custom_input import CustomInput
from tests.unit.adapter.parsing.splits import cuttings


def read(pieces: list[str]) -> tuple[str, bool]:
    custom = CustomInput()
    text = "".join(map(custom.push, pieces))
    custom.finish()
    return text, custom.missing


def holds(arguments: str, expected: tuple[str, bool]) -> None:
    assert read([arguments]) == expected
    for pieces in cuttings(arguments):
        assert read(pieces) == expected, pieces


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input": "SELECT 1"}', "SELECT 1"),
        ('{"input":""}', ""),
        (' \n{ "input" :\t"a" }', "a"),
        (r'{"input": "a\"b\\c\/d\b\f\n\r\t\u00e9"}', 'a"b\\c/d\b\f\n\r\té'),
        (r'{"input": "\\"}', "\\"),
        (r'{"input": "\\\""}', '\\"'),
        (r'{"input": "x\ud83d\ude00y"}', "x😀y"),
        (r'{"input": "\ud83dx"}', r"\ud83dx"),
        (r'{"input": "\ud83d"}', r"\ud83d"),
        ('{"input": "😀 日本"}', "😀 日本"),
        ('{"code": "another name"}', "another name"),
        (r'{"a\"b": "a quote in the name"}', "a quote in the name"),
        ('{"input": "first", "other": "second"}', "first"),
        ('{"input": "{\\"input\\": \\"inner\\"}"}', '{"input": "inner"}'),
    ],
)
def test_samples(arguments: str, text: str) -> None:
    holds(arguments, (text, False))


@pytest.mark.parametrize("arguments", ["{}", '{"input": 5}', '{"input": null}', '{"input": ["a"]}', '{"input": {}}'])
def test_no_string_is_no_input(arguments: str) -> None:
    holds(arguments, ("", True))


def test_what_is_missing_stays_missing() -> None:
    custom = CustomInput()
    custom.push("{}")
    custom.finish()
    assert custom.push("") == ""
    assert custom.missing


def test_a_beginning_is_waited_for_within_bounds() -> None:
    custom = CustomInput()
    custom.push('{"' + "a" * 600)
    assert custom.missing


def test_text_comes_as_soon_as_it_is_certain() -> None:
    custom = CustomInput()
    pieces = ['{"input": "a', "b\\", "n", r"\ud83d", r"\ude00", '"', "}"]
    assert [custom.push(piece) for piece in pieces] == ["a", "b", "\n", "", "😀", "", ""]


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.booleans())
def test_any_text_is_read_back(text: str, ascii: bool) -> None:
    holds(json.dumps({"input": text}, ensure_ascii=ascii), (text, False))
