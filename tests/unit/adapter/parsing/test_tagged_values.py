"""GLM and Qwen3-Coder: arguments between tags, whatever they hold and wherever they are cut."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.parsing.glm import Glm
from adapter.parsing.parsed import CallArguments, CallBroken, Content
from adapter.parsing.qwen3_coder import Qwen3Coder
from adapter.parsing.schema_types import ANY_TYPE, SchemaTypes
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
@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("path", "12", "12"),
        ("path", '"12"', '"12"'),
        ("path", "null", "null"),
        ("optional", "12", "12"),
        ("optional", '"12"', '"12"'),
        ("optional", "None", None),
        ("optional", "[1]", "[1]"),
        ("number", "12", 12),
        ("number", "[1]", "[1]"),
        ("number", "many", "many"),
        ("color", "true", "true"),
        ("loop", "12", 12),
        ("nowhere", "12", 12),
        ("list", '"a"', "a"),
    ],
)
def test_types_that_stand_elsewhere_in_the_schema(
    family: ToolFormat, written: Any, key: str, value: str, expected: Any
) -> None:
    parameters = {
        "$ref": "#/$defs/Arguments",
        "$defs": {
            "Arguments": {
                "properties": {
                    "path": {"$ref": "#/$defs/a~1path"},
                    "optional": {"anyOf": [{"$ref": "#/$defs/a~1path"}, {"type": "null"}]},
                    "number": {"type": ["integer", "string"]},
                    "color": {"allOf": [{"$ref": "#/$defs/Color"}]},
                    "loop": {"$ref": "#/$defs/Loop"},
                    "nowhere": {"$ref": "#/$defs/none"},
                    "list": {"type": "array"},
                }
            },
            "a/path": {"type": "string", "minLength": 1},
            "Color": {"enum": ["red", "true"]},
            "Loop": {"oneOf": [{"$ref": "#/$defs/Loop"}, {"type": "string"}]},
        },
    }
    tools = [Tool("draw", parameters=parameters)]
    events = parse(lambda: family.parser(tools), written("draw", {key: value}))
    assert [json.loads(call.arguments) for call in calls_of(events)] == [{key: expected}]


def test_types_of_a_schema_that_is_hard_to_follow() -> None:
    chain = {f"d{index}": {"anyOf": [{"$ref": f"#/$defs/d{index + 1}"}] * 2} for index in range(500)}
    types = SchemaTypes({"properties": {"x": {"$ref": "#/$defs/d0"}, "y": {"type": "integer"}}, "$defs": chain})
    assert types.of_property("x") == ANY_TYPE and types.of_property("y") == {"number"}
    assert types.of_property("z") == ANY_TYPE and SchemaTypes({"$ref": "#"}).of_property("x") == ANY_TYPE


@pytest.mark.parametrize(
    ("family", "written", "value"),
    [
        (Glm(), glm, "{{ '<arg_value>' + v + '</arg_value>' }}"),
        (Glm(), glm, "</arg_value></arg_value>\n</arg_value"),
        (Qwen3Coder(), qwen, '<call>\n<parameter name="a">1</parameter>\n\n</parameter>x</call>'),
        (Qwen3Coder(), qwen, "</parameter>\n</parameter>"),
        (Qwen3Coder(), qwen, "</parameter>" + " " * 300 + "</function>"),
    ],
)
@pytest.mark.parametrize("key", ["text", "any"])
def test_a_closing_tag_that_closes_nothing(family: ToolFormat, written: Any, value: str, key: str) -> None:
    assert read(family, written("write_file", {key: value, "count": "1"})) == [("write_file", {key: value, "count": 1})]


@each_family
def test_a_string_streams_in_pieces(family: ToolFormat, written: Any) -> None:
    parser = family.parser(TOOLS)
    before, after = written("write_file", {"text": "X"}).split("X")
    parser.push(before)
    for piece in ("one\n", "two", " </", "b> \n\n", "x" * 100_000):
        parser.push(piece)
    shown = "".join(event.text for event in parser.push("y") if isinstance(event, CallArguments))
    assert shown == "y"
    calls = calls_of(run(family.parser(TOOLS), [before, "one", after]))
    assert calls[0].arguments == '{"text": "one"}'


@each_family
def test_a_value_that_must_be_held_has_a_limit(family: ToolFormat, written: Any) -> None:
    before, _ = written("write_file", {"list": "X"}).split("X")
    (call,) = calls_of(run(family.parser(TOOLS), [before, *["1" * 100_000] * 11]))
    assert call.end == "broken"


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
            bare = call["any"].strip()
            bare = {"True": "true", "False": "false", "None": "null"}.get(bare, bare)
            with contextlib.suppress(ValueError, ZeroDivisionError):
                arguments["any"] = json.loads(bare, parse_constant=lambda name: 1 / 0)
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
