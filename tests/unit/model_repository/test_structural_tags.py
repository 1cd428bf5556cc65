"""Structural tags and the other guides, over a vocabulary of single bytes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.support.model_modules import model_module

guides = model_module("llama_cpp", "guides")
PIECES = [bytes([value]) for value in range(256)] + [b"<|call|>", b"<|end|>"]
CALL, END = 256, 257
COMPILER = guides.GuideCompiler(PIECES, [CALL, END], [END])
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
CONTENT = {"type": "json_schema", "json_schema": SCHEMA}
TAG = {"type": "tag", "begin": "<f>", "content": CONTENT, "end": "</f>"}
OTHER = {"type": "tag", "begin": "<g>", "content": {"type": "regex", "pattern": "x/[0-9]+"}, "end": "</g>"}
ONE = '<f>{"a": 1}</f>'


def outcome(kind: str, guide: Any, text: str) -> str:
    """`whole`: the text fulfils the guide; `part`: something must follow; `no`: it breaks it."""
    made = COMPILER.compile(kind, guide if isinstance(guide, str) else json.dumps(guide))
    tokens: list[int] = []
    for index, part in enumerate(text.split("<|call|>")):
        tokens += [CALL] * (index > 0) + list(part.encode())
    for token in tokens:
        logits = np.zeros(len(PIECES), np.float32)
        made.restrict(logits, frozenset([END]))
        if logits[token] == -np.inf:
            return "no"
        if made.accept(token):
            return "whole" if token == tokens[-1] else "no"
    logits = np.zeros(len(PIECES), np.float32)
    made.restrict(logits, frozenset([END]))
    return "whole" if logits[END] == 0 else "part"


def tagged(tag_format: Any, text: str) -> str:
    return outcome("structural_tag", {"type": "structural_tag", "format": tag_format}, text)


def test_form_of_tensorrt_llm() -> None:
    structures = [{"begin": "<f>", "schema": SCHEMA, "end": "</f>"}]
    guide = {"type": "structural_tag", "structures": structures, "triggers": ["<f"]}
    for text in ("", "free text <", f"before {ONE} after", ONE * 2):
        assert outcome("structural_tag", guide, text) == "whole"
    assert outcome("structural_tag", guide, "x <f>{") == "part"
    assert outcome("structural_tag", guide, "x <fx") == "no"
    assert outcome("structural_tag", guide, '<f>{"b"') == "no"


def test_triggered_tags() -> None:
    tags = {"type": "triggered_tags", "triggers": ["<f>", "<g"], "tags": [TAG, OTHER]}
    assert tagged(tags, f"a {ONE} b <g>x/12</g>") == "whole"
    assert tagged(tags, "<g>y") == "no"
    required = tags | {"at_least_one": True}
    assert tagged(required, ONE) == "whole"
    assert tagged(required, "a") == "no"
    once = required | {"stop_after_first": True}
    assert tagged(once, ONE) == "whole"
    assert tagged(once, ONE + "a") == "no"
    optional = tags | {"stop_after_first": True}
    assert tagged(optional, f"a {ONE}") == "whole"
    assert tagged(optional, "a") == "whole"
    assert tagged(optional, f"a {ONE} b") == "no"


def test_tags_with_separator() -> None:
    tags = {"type": "tags_with_separator", "tags": [TAG, OTHER], "separator": ", "}
    assert tagged(tags, f"{ONE}, <g>x/1</g>, {ONE}") == "whole"
    assert tagged(tags, "") == "whole"
    assert tagged(tags, f"{ONE},x") == "no"
    assert tagged(tags | {"at_least_one": True}, "") == "part"
    assert tagged(tags | {"stop_after_first": True}, f"{ONE}, ") == "no"


def test_sequence_or_and_text() -> None:
    thought = {"type": "tag", "begin": "<think>", "content": {"type": "any_text"}, "end": "</think>"}
    answer = {"type": "or", "elements": [{"type": "const_string", "value": "yes"}, TAG]}
    both = {"type": "sequence", "elements": [thought, answer]}
    assert tagged(both, f"<think>a < b\n</think>{ONE}") == "whole"
    assert tagged(both, "<think></think>yes") == "whole"
    assert tagged(both, "<think>a</think>n") == "no"
    assert tagged(both, "<think>a") == "part"
    until = {"type": "sequence", "elements": [{"type": "any_text"}, {"type": "const_string", "value": "END"}]}
    assert tagged(until, "anything END") == "whole"
    grammar = {"type": "grammar", "grammar": 'root ::= "q" [0-9]+'}
    assert (
        tagged({"type": "sequence", "elements": [grammar, {"type": "const_string", "value": "!"}]}, "q12!") == "whole"
    )
    several_ends = TAG | {"end": ["</f>", ";"]}
    assert [tagged(several_ends, text) for text in (ONE, '<f>{"a": 1};', '<f>{"a": 1}.')] == ["whole", "whole", "no"]


def test_control_tokens_are_taken_by_name() -> None:
    tag = {"type": "tag", "begin": "<|call|>go ", "content": CONTENT, "end": ""}
    assert tagged(tag, '<|call|>go {"a": 1}') == "whole"
    tags = {"type": "triggered_tags", "triggers": ["<|call|>"], "tags": [tag]}
    assert tagged(tags, 'text <|call|>go {"a": 1}') == "whole"
    assert tagged(tags, "text <|call|>x") == "no"
    assert outcome("regex", ".*", "<|call|>") == "no"  # no text contains them


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "an object is needed"),
        ({"type": "other"}, "type must be"),
        ({}, "`format`, or a list `structures`"),
        ({"format": {"type": "qwen_xml_parameter"}}, "format: format 'qwen_xml_parameter' is not supported"),
        ({"format": {"type": "sequence", "elements": []}}, "format.elements must be a list"),
        ({"format": {"type": "sequence", "elements": [TAG | {"content": 1}]}}, r"elements\[0\].content must be"),
        ({"format": {"type": "const_string", "value": ""}}, "format.value must not be empty"),
        ({"format": {"type": "tag", "begin": 1}}, "format.begin must be a string"),
        ({"format": {"type": "regex", "pattern": "("}}, "regex"),
        ({"format": {"type": "grammar", "grammar": "x"}}, "not an EBNF grammar"),
        ({"format": {"type": "triggered_tags", "triggers": [], "tags": [TAG]}}, "`triggers` must be"),
        ({"format": {"type": "triggered_tags", "triggers": ["q"], "tags": [TAG]}}, "starts with none"),
        ({"structures": [{"begin": "<f>"}], "triggers": ["<f>"], "x": 1} | {"structures": [1]}, r"structures\[0\]"),
        (
            {"format": {"type": "sequence", "elements": [{"type": "any_text"}, TAG]}},
            "any_text must be last, or followed by a const_string",
        ),
    ],
)
def test_refusals_name_the_place(document: Any, message: str) -> None:
    with pytest.raises(guides.GuideError, match=message):
        COMPILER.compile("structural_tag", json.dumps(document))


def test_size_is_bounded() -> None:
    deep: Any = {"type": "const_string", "value": "x"}
    for _ in range(200):
        deep = {"type": "sequence", "elements": [deep]}
    with pytest.raises(guides.GuideError, match="nested more than"):
        COMPILER.compile("structural_tag", json.dumps({"format": deep}))
    wide = {"type": "or", "elements": [{"type": "const_string", "value": "x"}] * 3000}
    with pytest.raises(guides.GuideError, match="more than 2000 parts"):
        COMPILER.compile("structural_tag", json.dumps({"format": wide}))


def test_white_space_in_json_is_bounded() -> None:
    assert outcome("json_schema", SCHEMA, '{\n  "a" : 1\n}') == "whole"
    assert outcome("json_schema", SCHEMA, '{\n\n  "a"') == "no"
    assert outcome("json_schema", SCHEMA | {"x-guidance": {"whitespace_pattern": "[ ]*"}}, '{   "a"') == "no"
    assert outcome("json", "", "[1, {}]") == "whole"
    assert outcome("json", "", "1") == "no"
    assert outcome("json_schema", "true", '"anything"') == "whole"
