"""Schema keywords: the table of the CPU engine against its compiler, and what a client is told."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from adapter.errors import APIError
from adapter.generation.json_schema import MAX_DEPTH, RULES, check_schema
from tests.support.model_modules import model_module

guides = model_module("llama_cpp", "guides")
END = 256
COMPILER = guides.GuideCompiler([bytes([value]) for value in range(256)] + [b"<end>"], [END], [END])
PARAM = "response_format.json_schema.schema"

ARRAY: dict[str, Any] = {"type": "array"}
OBJECT: dict[str, Any] = {"type": "object"}
STRING: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}

# keyword: a schema with it, what it allows, what it forbids (None: nothing). All of JSON Schema 2020-12 and draft 7.
KEYWORDS: dict[str, tuple[Any, str, str | None]] = {
    "type": (INTEGER, "1", '"a"'),
    "enum": ({"enum": ["a", 1]}, '"a"', '"b"'),
    "const": ({"const": {"a": 1}}, '{"a":1}', '{"a":2}'),
    "multipleOf": (INTEGER | {"multipleOf": 3}, "9", "10"),
    "minimum": ({"type": "number", "minimum": 3.5}, "4", "3"),
    "maximum": (INTEGER | {"maximum": 3}, "3", "4"),
    "exclusiveMinimum": (INTEGER | {"exclusiveMinimum": 3}, "4", "3"),
    "exclusiveMaximum": (INTEGER | {"exclusiveMaximum": 3}, "2", "3"),
    "minLength": (STRING | {"minLength": 2}, '"aa"', '"a"'),
    "maxLength": (STRING | {"maxLength": 2}, '"aa"', '"aaa"'),
    "pattern": (STRING | {"pattern": "^a+$"}, '"aa"', '"b"'),
    "minItems": (ARRAY | {"minItems": 1}, "[1]", "[]"),
    "maxItems": (ARRAY | {"maxItems": 1}, "[1]", "[1,2]"),
    "uniqueItems": (ARRAY | {"uniqueItems": True}, "[1,2]", "[1,1]"),
    "items": (ARRAY | {"items": INTEGER}, "[1]", '["a"]'),
    "prefixItems": (ARRAY | {"prefixItems": [INTEGER]}, "[1]", '["a"]'),
    "additionalItems": (ARRAY | {"items": [INTEGER], "additionalItems": False}, "[1]", "[1,2]"),
    "unevaluatedItems": (ARRAY | {"unevaluatedItems": False}, "[]", "[1]"),
    "contains": (ARRAY | {"contains": STRING}, '["a"]', "[1]"),
    "minContains": (ARRAY | {"minContains": 1}, "[1]", None),
    "maxContains": (ARRAY | {"maxContains": 1}, "[1]", None),
    "properties": (OBJECT | {"properties": {"a": INTEGER}}, '{"a":1}', '{"a":"b"}'),
    "required": (OBJECT | {"required": ["a"]}, '{"a":1}', "{}"),
    "additionalProperties": (OBJECT | {"additionalProperties": INTEGER}, '{"a":1}', '{"a":"b"}'),
    "patternProperties": (OBJECT | {"patternProperties": {"^a": INTEGER}}, '{"a":1}', '{"a":"b"}'),
    "propertyNames": (OBJECT | {"propertyNames": {"pattern": "^a"}}, '{"a":1}', '{"b":1}'),
    "minProperties": (OBJECT | {"minProperties": 1}, '{"a":1}', "{}"),
    "maxProperties": (OBJECT | {"maxProperties": 1}, '{"a":1}', '{"a":1,"b":2}'),
    "dependentRequired": (OBJECT | {"dependentRequired": {"a": ["b"]}}, "{}", '{"a":1}'),
    "dependentSchemas": (OBJECT | {"dependentSchemas": {"a": {"required": ["b"]}}}, "{}", '{"a":1}'),
    "dependencies": (OBJECT | {"dependencies": {"a": ["b"]}}, "{}", '{"a":1}'),
    "unevaluatedProperties": (OBJECT | {"unevaluatedProperties": False}, "{}", '{"a":1}'),
    "anyOf": ({"anyOf": [STRING, INTEGER]}, "1", "true"),
    "oneOf": ({"oneOf": [STRING, INTEGER]}, "1", "true"),
    "allOf": ({"allOf": [INTEGER, {"minimum": 3}]}, "3", "2"),
    "not": ({"not": STRING}, "1", '"a"'),
    "if": (STRING | {"if": {"minLength": 1}}, '"a"', None),
    "then": (STRING | {"then": {"minLength": 1}}, '"a"', None),
    "else": (STRING | {"else": {"minLength": 1}}, '"a"', None),
    "$ref": ({"$ref": "#/$defs/a", "$defs": {"a": INTEGER}}, "1", '"a"'),
    "$ref beside others": ({"$ref": "#/$defs/a", "minimum": 3, "$defs": {"a": INTEGER}}, "3", "2"),
    "$anchor": ({"$ref": "#x", "$defs": {"a": INTEGER | {"$anchor": "x"}}}, "1", '"a"'),
    "definitions": ({"$ref": "#/definitions/a", "definitions": {"a": INTEGER}}, "1", '"a"'),
    "$dynamicRef": ({"$dynamicRef": "#/$defs/a", "$defs": {"a": INTEGER}}, "1", '"a"'),
    "$dynamicAnchor": (INTEGER | {"$dynamicAnchor": "x"}, "1", '"a"'),
    "$recursiveRef": ({"$recursiveRef": "#"}, "1", None),
    "$recursiveAnchor": (INTEGER | {"$recursiveAnchor": True}, "1", '"a"'),
    "annotations": (
        STRING
        | {"title": "t", "description": "d", "default": "x", "examples": [1], "$comment": "c", "deprecated": True}
        | {"readOnly": True, "writeOnly": True, "contentEncoding": "base64", "contentMediaType": "text/plain"},
        '"?"',
        "1",
    ),
}
FORMATS = {
    **{"date-time": "2020-01-01T10:00:00Z", "date": "2020-01-01", "time": "10:00:00Z", "duration": "P1D"},
    **{"email": "a@b.ch", "hostname": "a.b", "ipv4": "1.2.3.4", "ipv6": "::1", "uri": "http://a.b/"},
    **{"uuid": "12345678-1234-1234-1234-123456789012", "idn-email": "a@b.ch", "idn-hostname": "a.b", "regex": "a"},
    **{"uri-reference": "a", "uri-template": "a", "iri": "http://a.b", "iri-reference": "a", "nonsense": "x"},
    **{"json-pointer": "/a", "relative-json-pointer": "0"},
}


def allows(schema: Any, text: str) -> bool | str:
    """Whether the engine's guide allows a text; its words if it takes no such schema."""
    try:
        guide = COMPILER.compile("json_schema", json.dumps(schema))
    except ValueError as error:
        return str(error)
    for byte in text.encode():
        logits = np.zeros(257, np.float32)
        guide.restrict(logits, frozenset([END]))
        if logits[byte] == -np.inf:
            return False
        if guide.accept(byte):
            return byte == text.encode()[-1]
    logits = np.zeros(257, np.float32)
    guide.restrict(logits, frozenset([END]))
    return bool(logits[END] == 0)


def refused(schema: Any, engine: str = "llama_cpp 1") -> APIError | None:
    try:
        check_schema(schema, PARAM, engine)
    except APIError as error:
        return error
    return None


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_the_table_is_what_the_compiler_does(keyword: str) -> None:
    schema, good, bad = KEYWORDS[keyword]
    outcome = allows(schema, good)
    if refused(schema) is None:
        assert outcome is True
        assert bad is None or allows(schema, bad) is False
    else:
        assert isinstance(outcome, str), "the compiler takes what the table refuses"


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str) -> None:
    schema = STRING | {"format": name}
    outcome = allows(schema, json.dumps(FORMATS[name]))
    if refused(schema) is None:
        assert outcome is True
        assert allows(schema, '" ?"') is False
    else:
        assert isinstance(outcome, str)
        assert "format" in outcome


def test_names_the_place() -> None:
    schema = {"properties": {"a": {"anyOf": [STRING, {"items": ARRAY | {"uniqueItems": True}}]}}}
    error = refused(schema)
    assert error is not None
    assert error.status == 400
    assert error.param == f"{PARAM}.properties.a.anyOf[1].items.uniqueItems"
    assert "'uniqueItems'" in error.message
    unknown = refused(OBJECT | {"additionalProperties": STRING | {"format": "iri"}})
    assert unknown is not None
    assert unknown.param == f"{PARAM}.additionalProperties.format"
    assert "'iri'" in unknown.message
    assert "uuid" in unknown.message


def test_properties_may_be_called_like_keywords() -> None:
    assert refused(OBJECT | {"properties": {"not": STRING, "if": STRING, "format": STRING}}) is None
    assert refused({"const": {"not": 1}}) is None
    assert refused({"enum": [{"uniqueItems": True}], "default": {"format": "iri"}}) is None


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        ({"$ref": "https://example.com/a.json"}, "$ref"),
        ({"$ref": "other.json#/a"}, "$ref"),
        ({"$ref": "#/$defs/missing"}, "$ref"),
        ({"properties": {"a": {"$ref": "#/properties/b"}}}, "properties.a.$ref"),
        ({"properties": []}, "properties"),
        ({"anyOf": {}}, "anyOf"),
        ({"items": 3}, "items"),
    ],
)
def test_broken_schemas(schema: Any, param: str) -> None:
    for engine in ("llama_cpp 1", "tensorrt_llm 1.2.1", ""):
        error = refused(schema, engine)
        assert error is not None
        assert error.param == f"{PARAM}.{param}"


def test_references_are_followed() -> None:
    recursive = {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"$ref": "#/$defs/a"}}}}}
    assert refused(recursive) is None
    hidden = {"$ref": "#/x~1y/0", "x/y": [{"uniqueItems": True}]}
    error = refused(hidden)
    assert error is not None
    assert error.param == f"{PARAM}.x/y[0].uniqueItems"


def test_depth_is_bounded() -> None:
    schema: dict[str, Any] = {}
    for _ in range(MAX_DEPTH + 1):
        schema = {"items": schema}
    error = refused(schema)
    assert error is not None
    assert "nested" in error.message
    assert refused(schema["items"]["items"]) is None


def test_each_engine_has_its_own_table() -> None:
    for engine in ("tensorrt_llm 1.2.1", "tensorrt_llm_api 1.3"):
        assert refused(INTEGER | {"multipleOf": 2}, engine) is not None
        assert refused({"allOf": [INTEGER, {"minimum": 1}]}, engine) is not None
        assert refused({"allOf": [INTEGER]}, engine) is None
        assert refused({"$ref": "#x"}, engine) is not None
        assert refused(OBJECT | {"propertyNames": {"pattern": "a"}}, engine) is None
    assert refused(INTEGER | {"multipleOf": 2}) is None
    assert refused({"not": {}}, "another 1") is None
    assert set(RULES) == {"llama_cpp", "tensorrt_llm", "tensorrt_llm_api"}


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"$ref": "#/$defs/a", "minimum": 3, "$defs": {"a": INTEGER}}, "minimum"),
        ({"$ref": "#/$defs/a", "anyOf": [{}], "$defs": {"a": INTEGER}}, "anyOf"),
        (OBJECT | {"anyOf": [OBJECT], "properties": {"a": INTEGER}}, "properties"),
        ({"enum": ["a", "b"], "pattern": "a"}, "pattern"),
        ({"const": 1, "minimum": 3}, "minimum"),
        ({"allOf": [INTEGER], "maximum": 3}, "maximum"),
        ({"minimum": 3}, "minimum"),
        ({"pattern": "a"}, "pattern"),
        ({"maxItems": 3}, "maxItems"),
        ({"items": INTEGER, "maxLength": 3}, "maxLength"),
        ({"patternProperties": {"a": INTEGER}}, "patternProperties"),
        (STRING | {"pattern": "a", "maxLength": 3}, "maxLength"),
        (STRING | {"format": "date", "pattern": "a"}, "pattern"),
        (OBJECT | {"required": ["a"]}, "required"),
    ],
)
def test_what_xgrammar_passes_over_because_of_other_keywords(schema: Any, keyword: str) -> None:
    error = refused(schema, "tensorrt_llm 1.2.1")
    assert error is not None and error.param == f"{PARAM}.{keyword}"
    assert refused(schema) is None or "allOf" in schema


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/a", "description": "d", "default": 1, "$defs": {"a": INTEGER}},
        {"anyOf": [STRING, {"type": "null"}], "title": "t"},
        STRING | {"enum": ["a"]},
        STRING | {"minLength": 1, "maxLength": 3},
        {"type": ["integer", "null"], "minimum": 3, "maximum": 5},
        {"items": INTEGER, "maxItems": 3},
        {"properties": {"a": INTEGER}, "required": ["a"], "minProperties": 1, "additionalProperties": False},
        OBJECT | {"patternProperties": {"a": INTEGER}, "maxProperties": 3},
    ],
)
def test_what_xgrammar_reads(schema: Any) -> None:
    assert refused(schema, "tensorrt_llm 1.2.1") is None
