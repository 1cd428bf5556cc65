"""Guides of tool calls, compiled by the CPU engine's own code: what they allow, the parsers read."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import numpy as np
import pytest

from adapter.parsing.formats import TOOL_FORMATS
from adapter.parsing.guided_calls import GuidedCalls
from adapter.parsing.guides import (
    CannotBeStrict,
    Choice,
    ToolGuide,
    answer_format,
    reads_bare_calls,
    tag_guide,
    tool_guide,
)
from adapter.parsing.tool_format import Tool, ToolFormat
from tests.support.model_modules import model_module
from tests.unit.adapter.parsing.splits import Call, calls_of, content_of, run

guides = model_module("llama_cpp", "guides")

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"$ref": "#/$defs/city"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "also": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#/$defs/city"}, "maxItems": 2}]},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
    "$defs": {"city": {"enum": ["Zürich", '"東京"', "x}\n</tool_call>"]}},
}
MATRIX = {
    "type": "object",
    "properties": {
        "rows": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
            "maxItems": 3,
        },
        "name": {"type": "string", "maxLength": 5},
        "inner": {"$ref": "#/properties/more"},
        "more": {"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": False},
    },
    "required": ["rows", "name"],
    "additionalProperties": False,
}
TREE = {
    "type": "object",
    "properties": {"leaf": {"type": "boolean"}, "below": {"type": "array", "items": {"$ref": "#"}, "maxItems": 1}},
    "required": ["leaf"],
    "additionalProperties": False,
}
TOOLS = [Tool("weather", "", WEATHER, True), Tool("matrix", "", MATRIX), Tool("tree-1", "", TREE)]
SCHEMAS = {tool.name: tool.parameters for tool in TOOLS}
EXAMPLES = {
    "weather": '{"city": "Zürich", "days": 3}',
    "matrix": '{"rows": [[true], []], "name": "a"}',
    "tree-1": '{"leaf": true, "below": [{"leaf": false}]}',
}
WITH_SYNTAX = {name: made for name, made in TOOL_FORMATS.items() if made.syntax is not None}
THOUGHT_END = "</think>"
CLOSING = frozenset(b'"]}')


class Vocabulary:
    """Single bytes, and the special tokens of a format."""

    def __init__(self, tool_format: ToolFormat) -> None:
        self.special = [*sorted(tool_format.special_tokens), "<end>"]
        self.end = 255 + len(self.special)
        self.pieces = [bytes([value]) for value in range(256)] + [token.encode() for token in self.special]
        control = list(range(256, len(self.pieces)))
        self.compiler = guides.GuideCompiler(self.pieces, control, [self.end])

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        while text:
            token = next((token for token in self.special if text.startswith(token)), None)
            if token is not None:
                ids.append(256 + self.special.index(token))
                text = text[len(token) :]
            else:
                ids += text[0].encode()
                text = text[1:]
        return ids


def allowed(guide: Any, vocabulary: Vocabulary) -> list[int]:
    logits = np.zeros(len(vocabulary.pieces), np.float32)
    guide.restrict(logits, frozenset([vocabulary.end]))
    return [int(token) for token in np.flatnonzero(logits == 0)]


def fulfils(made: ToolGuide, text: str) -> bool:
    """Whether the guide allows the text as a whole answer."""
    vocabulary = Vocabulary(made.tool_format)
    guide = vocabulary.compiler.compile(made.kind, made.text)
    ids = vocabulary.encode(text)
    for index, token in enumerate(ids):
        if token not in allowed(guide, vocabulary):
            return False
        if guide.accept(token):
            return index == len(ids) - 1
    return vocabulary.end in allowed(guide, vocabulary)


def walk(vocabulary: Vocabulary, made: ToolGuide, seed: int, begun: str = "") -> str:
    """A random answer that the guide allows."""
    source = random.Random(seed)
    guide = vocabulary.compiler.compile(made.kind, made.text)
    written = b""
    forced = vocabulary.encode(begun)
    for _ in range(4000):
        options = allowed(guide, vocabulary)
        if forced:
            token = forced.pop(0)
            assert token in options, written
        elif vocabulary.end in options and (len(options) == 1 or source.random() < 0.4):
            break
        else:
            # Any byte of a string is as likely as its end, or a walk would be of strings only.
            closing = [option for option in options if option in CLOSING] if source.random() < 0.3 else []
            token = source.choice(closing or [option for option in options if option != vocabulary.end])
        written += vocabulary.pieces[token]
        if guide.accept(token):
            break
    else:
        pytest.fail("the walk does not end")
    return written.decode()


def check_calls(made: ToolGuide, text: str) -> list[Call]:
    calls = calls_of(run(made.tool_format.parser(TOOLS), [text]))
    for call in calls:
        assert call.end == "complete", text
        jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
    return calls


def family_text(tool_format: ToolFormat, *names: str) -> str:
    syntax = tool_format.syntax
    assert syntax is not None
    calls = [tool_format.call_begin(name) + EXAMPLES[name] + syntax.end for name in names]
    return syntax.open + syntax.separator.join(calls) + syntax.close


def guide_of(choice: Choice, tool_format: ToolFormat, **options: Any) -> ToolGuide:
    made = tool_guide(TOOLS, choice, tool_format, **({"structural_tags": True} | options))
    assert made is not None
    return made


@pytest.mark.parametrize("name", WITH_SYNTAX)
def test_a_familys_own_rendering_is_allowed_and_read(name: str) -> None:
    made = guide_of(Choice.REQUIRED, WITH_SYNTAX[name])
    assert made.kind == "structural_tag"
    for names in (["weather"], ["tree-1", "weather", "matrix"]):
        text = family_text(made.tool_format, *names)
        assert fulfils(made, text)
        assert [call.name for call in check_calls(made, text)] == names
    assert not fulfils(made, "Well, " + family_text(made.tool_format, "weather"))
    assert not fulfils(made, "")
    assert not fulfils(made, family_text(made.tool_format, "weather").replace(": 3", ": 15"))


@pytest.mark.parametrize("name", WITH_SYNTAX)
def test_a_single_call(name: str) -> None:
    for made in (
        guide_of(Choice.NAMED, WITH_SYNTAX[name]),
        guide_of(Choice.REQUIRED, WITH_SYNTAX[name], parallel=False),
    ):
        assert fulfils(made, family_text(made.tool_format, "weather"))
        assert not fulfils(made, family_text(made.tool_format, "weather", "weather"))


@pytest.mark.parametrize("name", WITH_SYNTAX)
@pytest.mark.parametrize("seed", range(6))
def test_random_answers_are_valid_calls(name: str, seed: int) -> None:
    made = guide_of(Choice.REQUIRED, WITH_SYNTAX[name])
    text = walk(Vocabulary(made.tool_format), made, seed)
    assert check_calls(made, text)
    if made.tool_format.messages is None:  # where there are messages, some may be text
        assert content_of(run(made.tool_format.parser(TOOLS), [text])) == ""


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("parallel", [False, True])
def test_random_answers_without_structural_tags(seed: int, parallel: bool) -> None:
    made = guide_of(Choice.REQUIRED, WITH_SYNTAX["hermes"], structural_tags=False, parallel=parallel)
    assert made.kind == "json_schema"
    assert isinstance(made.tool_format, GuidedCalls)
    assert not made.reasoning
    calls = check_calls(made, walk(Vocabulary(made.tool_format), made, seed))
    assert len(calls) == 1 or parallel
    assert calls


@pytest.mark.parametrize("name", WITH_SYNTAX)
@pytest.mark.parametrize("seed", range(3))
def test_random_answers_with_strict_tools(name: str, seed: int) -> None:
    """Free text, and once a call has begun, a valid one."""
    made = guide_of(Choice.AUTO, WITH_SYNTAX[name])
    syntax = made.tool_format.syntax
    assert syntax is not None
    messages = made.tool_format.messages
    before = "" if not syntax.triggers else "I look: "
    if messages is not None:
        before = messages.preamble[0] + before + messages.preamble[1] + messages.separator
    begun = before + syntax.open + made.tool_format.call_begin("weather")
    text = walk(Vocabulary(made.tool_format), made, seed, begun)
    (first, *_) = calls_of(run(made.tool_format.parser(TOOLS), [text]))
    assert (first.name, first.end) == ("weather", "complete")
    jsonschema.validate(json.loads(first.arguments), WEATHER)
    begin, end = messages.answer if messages is not None else ("", "")
    assert fulfils(made, f"{begin}Only text, with {{}} and <tags>.{end}")


def test_strict_bare_calls() -> None:
    hermes = TOOL_FORMATS["hermes"]
    assert reads_bare_calls(hermes)
    assert not reads_bare_calls(TOOL_FORMATS["deepseek_v3"])
    made = guide_of(Choice.AUTO, hermes)
    assert fulfils(made, '{"name": "weather", "arguments": {"city": "Zürich", "days": 2}}')
    assert not fulfils(made, '{"name": "weather", "arguments": {"city": "Bern", "days": 2}}')
    assert fulfils(made, '{"name": "Ada", "arguments": "none"}')
    # The others: any object.
    assert fulfils(made, '<tool_call>\n{"name": "matrix", "arguments": {"x": 1}}\n</tool_call>')
    assert not fulfils(made, '<tool_call>\n{"name": "matrix", "arguments": [1]}\n</tool_call>')


def test_reasoning_first() -> None:
    made = guide_of(Choice.REQUIRED, TOOL_FORMATS["hermes"], reasoning_end=THOUGHT_END)
    assert made.reasoning
    call = family_text(made.tool_format, "weather")
    assert fulfils(made, f"I think {{1 < 2}}\n{THOUGHT_END}\n\n{call}")
    assert fulfils(made, f"{THOUGHT_END}{call}")
    assert not fulfils(made, call)
    assert not fulfils(made, f"a{THOUGHT_END}b{call}")


def test_reasoning_first_with_a_strict_tool() -> None:
    made = guide_of(Choice.AUTO, TOOL_FORMATS["hermes"], reasoning_end=THOUGHT_END)
    assert fulfils(made, f'{{"name": "weather", "arguments": 1}} maybe{THOUGHT_END}\n\nText.')
    assert not fulfils(made, f"a{THOUGHT_END}<tool_call> maybe")


def test_nobody_strict() -> None:
    """Calls are whole all the same, where that can be had and costs the model nothing."""
    hermes = TOOL_FORMATS["hermes"]
    made = tool_guide([Tool("a")], Choice.AUTO, hermes, structural_tags=True)
    assert made is not None
    assert fulfils(made, 'Text. <tool_call>\n{"name": "a", "arguments": {"x": 1}}\n</tool_call> Text.')
    assert not fulfils(made, '<tool_call>\n{"name": "b", "arguments": {}}\n</tool_call>')
    assert tool_guide([Tool("a")], Choice.AUTO, hermes, structural_tags=False) is None
    assert tool_guide([Tool("a")], Choice.AUTO, GuidedCalls(), structural_tags=True) is None
    assert tool_guide([Tool("a")], Choice.AUTO, hermes, structural_tags=True, reasoning_end=THOUGHT_END) is None


def test_parallel_is_kept_under_auto() -> None:
    made = guide_of(Choice.AUTO, TOOL_FORMATS["deepseek_v3"], parallel=False)
    assert fulfils(made, family_text(made.tool_format, "weather"))
    assert not fulfils(made, family_text(made.tool_format, "weather", "weather"))
    assert fulfils(guide_of(Choice.AUTO, made.tool_format), family_text(made.tool_format, "weather", "tree-1"))


def test_strict_that_cannot_be_kept() -> None:
    tools = [Tool("a"), Tool("b", strict=True)]
    with pytest.raises(CannotBeStrict, match="structural tags") as caught:
        tool_guide(tools, Choice.AUTO, TOOL_FORMATS["hermes"], structural_tags=False)
    assert caught.value.index == 1
    with pytest.raises(CannotBeStrict, match="as JSON"):
        tool_guide(tools, Choice.AUTO, GuidedCalls(), structural_tags=True)


@pytest.mark.parametrize("name", sorted(TOOL_FORMATS.keys() - WITH_SYNTAX.keys()))
def test_a_format_without_syntax_takes_plain_json(name: str) -> None:
    call = f'{{"name": "tree-1", "arguments": {EXAMPLES["tree-1"]}}}'
    for tagged in (True, False):
        made = guide_of(Choice.NAMED, TOOL_FORMATS[name], structural_tags=tagged)
        assert (made.kind, type(made.tool_format)) == ("json_schema", GuidedCalls)
        assert fulfils(made, call) and len(check_calls(made, call)) == 1
        made = guide_of(Choice.REQUIRED, TOOL_FORMATS[name], structural_tags=tagged)
        assert fulfils(made, f"[{call}, {call}]") and len(check_calls(made, f"[{call}, {call}]")) == 2
        with pytest.raises(CannotBeStrict):
            tool_guide(TOOLS, Choice.AUTO, TOOL_FORMATS[name], structural_tags=tagged)
    thinking = guide_of(Choice.NAMED, TOOL_FORMATS[name], reasoning_end=THOUGHT_END)
    assert fulfils(thinking, f"hm{THOUGHT_END}\n{call}")


def test_schemas_that_are_not_enforced() -> None:
    made = guide_of(Choice.REQUIRED, TOOL_FORMATS["hermes"], unenforced={"matrix"})
    text = '<tool_call>\n{"name": "%s", "arguments": {"anything": []}}\n</tool_call>'
    assert fulfils(made, text % "matrix")
    assert not fulfils(made, text % "weather")
    bare = tool_guide([Tool("f")], Choice.REQUIRED, TOOL_FORMATS["hermes"], structural_tags=True)
    assert bare is not None
    assert fulfils(bare, text % "f")


def test_messages() -> None:
    """Where answers are messages, others may come before the calls, and text is a message too."""
    harmony = TOOL_FORMATS["harmony"]
    thought = "<|channel|>analysis<|message|>Hm {.<|end|><|start|>assistant"
    preamble = "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant"
    answer = "<|channel|>final<|message|>No.<|return|>"
    call = family_text(harmony, "weather")
    for choice in Choice:
        made = guide_of(choice, harmony, parallel=False)
        for before in ("", thought, thought + preamble, preamble + thought + thought):
            assert fulfils(made, before + call)
            assert fulfils(made, before + answer) == (choice is Choice.AUTO)
            events = run(harmony.parser(TOOLS), [before + call])
            assert [(found.name, found.end) for found in calls_of(events)] == [("weather", "complete")]
            assert content_of(events) == ("I look." if preamble in before else "")
        assert not fulfils(made, call + "<|start|>assistant" + call)
        assert not fulfils(made, call.replace(": 3", ": 15"))
        assert not fulfils(made, thought)
        assert not fulfils(made, "No.")
    assert tool_guide([Tool("a")], Choice.AUTO, harmony, structural_tags=True) is None
    with pytest.raises(CannotBeStrict, match="structural tags"):
        tool_guide(TOOLS, Choice.AUTO, harmony, structural_tags=False)


def test_an_answer_by_a_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}
    for name, begin, end in (("hermes", "", ""), ("harmony", "<|channel|>final<|message|>", "<|return|>")):
        made = tag_guide(answer_format(schema, TOOL_FORMATS[name]), TOOL_FORMATS[name], None)
        assert fulfils(made, begin + '{"a": 1}' + end)
        assert not fulfils(made, begin + '{"a": 2}' + end)
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    assert fulfils(made, f'{thought}<|channel|>final<|message|>{{"a": 1}}<|return|>')
    assert not fulfils(made, f"{thought}<|channel|>final<|message|>Hm.<|return|>")
