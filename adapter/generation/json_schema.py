"""JSON Schemas of requests: a keyword that an engine does not enforce is refused before anything runs.

Guided decoding accepts more schemas than it honours: a grammar compiler passes over keywords that it does not know.
The tables below say what each engine's compiler cannot do. Keywords of neither table are enforced, or are annotations
(`title`, `description`, `default`, `examples`, `$comment`, `contentEncoding`, ...), which constrain nothing in JSON
Schema 2020-12; so do keywords that JSON Schema does not know.

OpenAI's further rules for `strict` (every property required, `additionalProperties` false) are not demanded: the
engines enforce schemas without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adapter.errors import APIError, invalid_request

MAX_DEPTH = 64
"""Levels of nested schemas; the parsers of tool calls follow as many."""

_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalItems", "additionalProperties")


@dataclass(frozen=True)
class SchemaRules:
    """What the grammar compiler of an engine cannot do.

    name: the compiler's.
    refused: keywords that it refuses or passes over, though they constrain.
    formats: values of `format` that it enforces.
    anchors: whether it finds a `$ref` by `$anchor`.
    single_all_of: whether it honours an `allOf` of one schema only.
    apart: whether it passes over keywords because of others in the same schema (see `_passed_over`).
    """

    name: str
    refused: frozenset[str]
    formats: frozenset[str]
    anchors: bool
    single_all_of: bool
    apart: bool


_NEVER = frozenset(
    {
        "not",
        "if",
        "then",
        "else",
        "uniqueItems",
        "contains",
        "minContains",
        "maxContains",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "$dynamicRef",
        "$dynamicAnchor",
        "$recursiveRef",
        "$recursiveAnchor",
    }
)

# Measured: llguidance 1.9.1 refuses each of these ("Unimplemented keys", "Unknown format"). The unit test tries every
# keyword. It also refuses `oneOf` whose options it cannot tell apart, and look-around and back references in
# patterns; the engine's own 400 names those.
_LLGUIDANCE = SchemaRules(
    name="llguidance",
    refused=_NEVER | {"propertyNames", "unevaluatedProperties", "unevaluatedItems"},
    formats=frozenset({"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"}),
    anchors=True,
    single_all_of=False,
    apart=False,
)

# Measured with xgrammar 0.1.25 (cpp/json_schema_converter.cc): it passes over these keywords, takes `allOf` of several
# schemas for anything, and `oneOf` as `anyOf`; `$ref` is `#` or begins with `#/`. Its numeric bounds are rough: many a
# bound lets some numbers beyond it through (`minimum: 3` without `maximum` allows 1 and 2).
_XGRAMMAR = SchemaRules(
    name="xgrammar",
    refused=_NEVER | {"multipleOf"},
    formats=frozenset(
        {
            *("date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"),
            *("uri-reference", "uri-template", "json-pointer", "relative-json-pointer"),
        }
    ),
    anchors=False,
    single_all_of=True,
    apart=True,
)

RULES: Mapping[str, SchemaRules] = {
    "llama_cpp": _LLGUIDANCE,
    "tensorrt_llm": _XGRAMMAR,
    "tensorrt_llm_api": _XGRAMMAR,
}
"""By the first word of a model's `engine` parameter. Engines that are not listed decide for themselves."""


def check_schema(schema: Any, param: str, engine: str) -> None:
    """Refuses what the engine would not enforce.

    Args:
        schema: JSON Schema, from JSON.
        param: where it stands in the request, such as `response_format.json_schema.schema`.
        engine: the model's `engine` parameter, such as `llama_cpp 0.3`.

    Raises:
        APIError: 400; its param names the place down to the keyword.
    """
    rules = RULES.get(engine.split(" ")[0] if engine else "")
    seen: set[int] = set()
    waiting: list[tuple[Any, str, int]] = [(schema, param, 1)]
    while waiting:
        node, place, depth = waiting.pop()
        if isinstance(node, bool):
            continue
        if not isinstance(node, dict):
            raise _invalid(place, "a schema is an object or a boolean.")
        if id(node) in seen:
            continue
        seen.add(id(node))
        if depth > MAX_DEPTH:
            raise _invalid(param, f"schemas are nested more than {MAX_DEPTH} levels deep.")
        if rules is not None:
            _check_keywords(node, place, rules)
        if isinstance(node.get("$ref"), str) and not _is_anchor(node["$ref"]):
            waiting.append((*_target(schema, node["$ref"], param, place), depth + 1))
        waiting += [(inner, f"{place}.{key}", depth + 1) for key, inner in _inner(node, place)]


def _check_keywords(node: Mapping[str, Any], place: str, rules: SchemaRules) -> None:
    for keyword in node:
        if keyword in rules.refused:
            raise _unsupported(f"{place}.{keyword}", f"keyword '{keyword}'", rules)
    tag = node.get("format")
    if isinstance(tag, str) and tag not in rules.formats:
        raise _unsupported(
            f"{place}.format", f"format '{tag}'", rules, ", or take one of " + ", ".join(sorted(rules.formats))
        )
    if rules.apart:
        for keyword, because in _passed_over(node):
            raise _unsupported(f"{place}.{keyword}", f"keyword '{keyword}' {because}", rules)
    several = node.get("allOf")
    if rules.single_all_of and isinstance(several, list) and len(several) > 1:
        raise _unsupported(f"{place}.allOf", "keyword 'allOf' with more than one schema", rules)
    reference = node.get("$ref")
    if isinstance(reference, str) and _is_anchor(reference) and not rules.anchors:
        raise _unsupported(f"{place}.$ref", "'$ref' to an '$anchor'", rules)


# The first of these that a schema has is all that xgrammar reads of it; `type` beside them mostly repeats it.
_ALONE = ("$ref", "const", "enum", "anyOf", "oneOf", "allOf")
_OF_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_OF_STRINGS = frozenset({"minLength", "maxLength", "pattern", "format"})
_OF_ARRAYS = frozenset({"items", "prefixItems", "additionalItems", "unevaluatedItems", "minItems", "maxItems"})
_OF_OBJECTS = frozenset(
    {"properties", "required", "additionalProperties", "unevaluatedProperties"}
    | {"patternProperties", "propertyNames", "minProperties", "maxProperties"}
)
# Where no `type` stands, these tell it.
_TELLING = {
    "items": _OF_ARRAYS,
    "prefixItems": _OF_ARRAYS,
    "unevaluatedItems": _OF_ARRAYS,
    "properties": _OF_OBJECTS,
    "additionalProperties": _OF_OBJECTS,
    "unevaluatedProperties": _OF_OBJECTS,
}


def _passed_over(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keywords that xgrammar passes over because of what else is in the schema, or is not; with the cause."""
    asserting = (_OF_NUMBERS | _OF_STRINGS | _OF_ARRAYS | _OF_OBJECTS) & node.keys()
    leader = next((keyword for keyword in _ALONE if keyword in node), None)
    if leader is not None:
        beside = asserting | (node.keys() & set(_ALONE) - {leader})
        yield from ((keyword, f"beside '{leader}'") for keyword in sorted(beside))
        return
    if "type" not in node:
        told = frozenset().union(*(_TELLING[keyword] for keyword in _TELLING.keys() & node.keys()))
        yield from ((keyword, "without 'type'") for keyword in sorted(asserting - told))
    decides = next((keyword for keyword in ("format", "pattern") if keyword in node), None)
    if decides is not None:
        lost = _OF_STRINGS & node.keys() - {decides}
        yield from ((keyword, f"beside '{decides}'") for keyword in sorted(lost))
    if "required" in node and "properties" not in node:
        yield "required", "without 'properties'"


def _inner(node: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    """The schemas within a schema, with the keys that lead there."""
    for keyword in _MAPS:
        if keyword in node:
            if not isinstance(node[keyword], dict):
                raise _invalid(f"{place}.{keyword}", "an object of schemas is needed.")
            yield from ((f"{keyword}.{name}", inner) for name, inner in node[keyword].items())
    for keyword in _LISTS:
        if keyword in node:
            if not isinstance(node[keyword], list):
                raise _invalid(f"{place}.{keyword}", "a list of schemas is needed.")
            yield from ((f"{keyword}[{index}]", inner) for index, inner in enumerate(node[keyword]))
    for keyword in _SINGLE:
        inner = node.get(keyword, True)
        if isinstance(inner, list):  # `items` before 2020-12
            yield from ((f"{keyword}[{index}]", item) for index, item in enumerate(inner))
        else:
            yield keyword, inner


def _is_anchor(reference: str) -> bool:
    return reference.startswith("#") and len(reference) > 1 and reference[1] != "/"


def _target(schema: Any, reference: str, param: str, place: str) -> tuple[Any, str]:
    """What a `$ref` refers to, and where that is."""
    if not reference.startswith("#"):
        raise _invalid(f"{place}.$ref", f"'{reference}' is not within this schema; other documents are not fetched.")
    node: Any = schema
    path = param
    for step in reference[2:].split("/") if len(reference) > 1 else ():
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node, path = node[key], f"{path}.{key}"
        elif isinstance(node, list) and key.isdecimal() and len(key) < 9 and int(key) < len(node):
            node, path = node[int(key)], f"{path}[{key}]"
        else:
            raise _invalid(f"{place}.$ref", f"there is no '{reference}' in this schema.")
    return node, path


def _invalid(place: str, why: str) -> APIError:
    return invalid_request(f"Invalid schema at '{place}': {why}", place, "invalid_json_schema")


def _unsupported(place: str, what: str, rules: SchemaRules, more: str = "") -> APIError:
    message = (
        f"Invalid schema at '{place}': {what} is not enforced by this model's engine ({rules.name}): leave it out."
    )
    return invalid_request(f"{message} {more}.".removesuffix(" ."), place, "unsupported_json_schema")
