"""GLM and Qwen3-Coder: arguments between tags, whatever they hold and wherever they are cut."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.parsing.glm import Glm
from adapter.parsing.parsed import CallBroken, Content
from adapter.parsing.qwen3_coder import Qwen3Coder
from adapter.parsing.tool_format import Tool, ToolFormat
from tests.unit.adapter.parsing.splits import calls_of, content_of, parse, random_pieces, run

PARAMETERS = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "any": {},
        "list": {"type": "array"},
        "word": {"enum": ["a", "1"]},
    },
}
TOOLS = [Tool("write_file", parameters=PARAMETERS), Tool("now")]


def glm(name: str, arguments: dict[str, str], space: str = "\n") -> str:
    values = "".join(f"{space}<arg_key>{k}</arg_key>{space}<arg_value>{v}</arg_value>" for k, v in arguments.items())
    return f"<tool_call>{name}{values}{space}</tool_call>"


def qwen(name: str, arguments: dict[str, str]) -> str:
    values = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in arguments.items())
    return f"<tool_call>\n<function={name}>\n{values}</function>\n</tool_call>"


FAMILIES: list[Any] = [(Glm(), glm), (Qwen3Coder(), qwen)]
each_family = pytest.mark.parametrize(("family", "written"), FAMILIES, ids=["glm", "qwen3_coder"])


def read(family: ToolFormat, text: str) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in calls_of(parse(lambda: family.parser(TOOLS), text))]


@each_family
def test_values_have_their_types(family: ToolFormat, written: Any) -> None:
    text = written(
        "write_file",
        {"text": "12", "count": "3", "any": "true", "list": '[1, {"a": null}]', "word": "1"},
    )
    expected = {"text": "12", "count": 3, "any": True, "list": [1, {"a": None}], "word": "1"}
    assert read(family, text) == [("write_file", expected)]


@each_family
@pytest.mark.parametrize(
    "value",
    [
        "",
        'quotes " and \\ and \n\n breaks',
        "😀 é 日本 \u2028",
        "</arg_valu <parameter </param <tool_call> <function=now>",
        "x = '<b>'\nprint(x)\n",
        "{not json",
        "NaN",
        "-Infinity",
    ],
)
def test_awkward_strings(family: ToolFormat, written: Any, value: str) -> None:
    assert read(family, written("write_file", {"text": value})) == [("write_file", {"text": value})]
    assert read(family, written("write_file", {"any": value})) == [("write_file", {"any": value})]


@each_family
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1.10", "1.10"),
        ("1e999", "1e999"),
        ("True", "true"),
        ("None", "null"),
        ('"\\ud83d"', '"\\ud83d"'),
        ("[" * 65 + "]" * 65, None),
    ],
)
def test_json_is_passed_on_as_it_is(family: ToolFormat, written: Any, value: str, expected: str | None) -> None:
    (call,) = calls_of(run(family.parser(TOOLS), [written("write_file", {"any": value})]))
    assert call.arguments == '{"any": ' + (expected or json.dumps(value)) + "}"


@each_family
def test_calls_side_by_side_with_content(family: ToolFormat, written: Any) -> None:
    text = "I will write.\n" + written("write_file", {"text": "a"}) + "\n" + written("now", {}) + "\n"
    events = parse(lambda: family.parser(TOOLS), text)
    assert [(call.name, call.arguments, call.end) for call in calls_of(events)] == [
        ("write_file", '{"text": "a"}', "complete"),
        ("now", "{}", "complete"),
    ]
    assert content_of(events) == "I will write.\n"


def test_tags_on_one_line_and_without_the_first() -> None:
    assert read(Glm(), glm("write_file", {"count": "1"}, "")) == [("write_file", {"count": 1})]
    bare = qwen("now", {}).removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
    assert read(Qwen3Coder(), bare) == [("now", {})]


@each_family
def test_what_is_no_call(family: ToolFormat, written: Any) -> None:
    for text in (
        written("unknown", {"a": "b"}),
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
        "a <tool",
    ):
        events = parse(lambda: family.parser(TOOLS), text)
        assert not calls_of(events) and content_of(events) == text


@each_family
def test_a_call_that_breaks_or_ends_early(family: ToolFormat, written: Any) -> None:
    whole = written("write_file", {"text": "a", "count": "2"})
    broken = whole.replace("count", "text")
    assert any(isinstance(event, CallBroken) for event in parse(lambda: family.parser(TOOLS), broken))
    for cut in range(len(whole) - 1):
        calls = calls_of(run(family.parser(TOOLS), [whole[:cut]]))
        assert all(call.end == "unfinished" for call in calls) or whole[cut:].strip() in ("</tool_call>", whole[cut:])


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@each_family
@given(st.lists(st.dictionaries(st.sampled_from(["text", "any"]), texts, max_size=2), max_size=3), st.randoms())
@settings(max_examples=80, deadline=None)
def test_anything_comes_back(family: ToolFormat, written: Any, calls: list[dict[str, str]], random: Any) -> None:
    text = "\n".join(written("write_file", call) for call in calls)
    events = run(family.parser(TOOLS), random_pieces(text, random))
    expected = []
    for call in calls:
        arguments: dict[str, Any] = dict(call)
        if "any" in call:
            with contextlib.suppress(ValueError, ZeroDivisionError):
                arguments["any"] = json.loads(call["any"].strip(), parse_constant=lambda name: 1 / 0)
        expected.append(arguments)
    assert [json.loads(call.arguments) for call in calls_of(events)] == expected


@each_family
@given(
    st.lists(
        st.sampled_from(
            [
                "<tool_call>",
                "</tool_call>",
                "now",
                "\n",
                "<function=",
                ">",
                "<arg_key>",
                "</arg_key>",
                "<arg_value>",
                "{",
            ]
        )
        | texts,
        max_size=12,
    ).map("".join)
)
@settings(max_examples=150, deadline=None)
def test_garbage_is_content(family: ToolFormat, written: Any, text: str) -> None:
    events = run(family.parser(TOOLS), [text])
    if not calls_of(events):
        assert "".join(event.text for event in events if isinstance(event, Content)) == text
