"""Structural tags: free text in which marked parts must follow a schema, as a Lark grammar of llguidance.

Two forms are understood:

- that of TensorRT-LLM 1.x: `{"structures": [{"begin", "schema", "end"}, ...], "triggers": [...]}`;
- that of xgrammar's newer documents: `{"type": "structural_tag", "format": {...}}` with the formats `const_string`,
  `json_schema`, `regex`, `grammar`, `any_text`, `sequence`, `or`, `tag`, `triggered_tags`, `tags_with_separator`.

Sources: xgrammar's structural tag documentation; llguidance's docs/syntax.md (`[lazy]` rules end at their first
match, `@name` refers to another grammar, `<[id]>` is a control token).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .json_schemas import bounded

MAX_RULES = 2000
_ANY_TEXT = r"/(.|\n)*/"


class StructuralTagError(ValueError):
    """It is no structural tag, or one of a kind that is not supported; the message says where."""


def structural_tag_grammar(document: Any, control_tokens: Mapping[str, int], ebnf: Callable[[str], str]) -> str:
    """The llguidance grammar (JSON) of a structural tag.

    Args:
        document: the parsed JSON.
        control_tokens: id by name; text cannot contain them, so literals that do are split.
        ebnf: converts an EBNF grammar to Lark.
    Raises:
        StructuralTagError: with the place in the document.
    """
    if not isinstance(document, dict):
        raise StructuralTagError("an object is needed")
    if document.get("type", "structural_tag") != "structural_tag":
        raise StructuralTagError(f'type must be "structural_tag", not {document["type"]!r}')
    if "format" in document:
        place, tag_format = "format", document["format"]
    else:
        place, tag_format = "structures", _from_structures(document)
    return _Writer(control_tokens, ebnf).grammar(tag_format, place)


def _from_structures(document: Mapping[str, Any]) -> dict[str, Any]:
    """TensorRT-LLM's form in terms of the newer one."""
    structures = document.get("structures")
    if not isinstance(structures, list) or not structures:
        raise StructuralTagError("`format`, or a list `structures` that is not empty, is needed")
    tags = []
    for index, structure in enumerate(structures):
        if not isinstance(structure, dict):
            raise StructuralTagError(f"structures[{index}] must be an object")
        content = {"type": "json_schema", "json_schema": structure.get("schema", {})}
        tags.append(
            {"type": "tag", "begin": structure.get("begin"), "content": content, "end": structure.get("end", "")}
        )
    return {"type": "triggered_tags", "triggers": document.get("triggers"), "tags": tags}


class _Writer:
    """Writes rules; every method returns the name of a rule or an expression in brackets."""

    def __init__(self, control_tokens: Mapping[str, int], ebnf: Callable[[str], str]) -> None:
        self._control_tokens = control_tokens
        self._ebnf = ebnf
        self._rules: list[str] = []
        self._others: list[dict[str, str]] = []

    def grammar(self, tag_format: Any, place: str) -> str:
        start = self._format(tag_format, "", place)
        lark = "\n".join(["%llguidance {}", f"start: {start}", *self._rules])
        grammars = [{"name": "structural_tag", "lark_grammar": lark}, *self._others]
        return json.dumps({"grammars": grammars})

    def _rule(self, body: str, lazy: bool = False) -> str:
        if len(self._rules) >= MAX_RULES:
            raise StructuralTagError(f"more than {MAX_RULES} parts")
        name = f"part_{len(self._rules)}"
        self._rules.append(f"{name}{'[lazy]' if lazy else ''}: {body}")
        return name

    def _literal(self, text: str) -> str:
        """`text`, with control tokens by id; empty for the empty string."""
        parts: list[str] = []
        while text:
            found = [(text.find(name), -len(name), name) for name in self._control_tokens if name in text]
            position, _, name = min(found, default=(len(text), 0, ""))
            if position:
                parts.append(json.dumps(text[:position]))
            if name:
                parts.append(f"<[{self._control_tokens[name]}]>")
            text = text[position + len(name) :]
        return " ".join(parts)

    def _until(self, end: str) -> str:
        """Any text up to and with `end`; to the end of the answer if that is empty."""
        if not end:
            return self._rule(_ANY_TEXT)
        if self._has_control_token(end):
            return self._rule(f"{_ANY_TEXT} {self._literal(end)}")
        return self._rule(f"{_ANY_TEXT} {json.dumps(end)}", lazy=True)

    def _has_control_token(self, text: str) -> bool:
        return any(name in text for name in self._control_tokens)

    def _format(self, tag_format: Any, end: str, place: str) -> str:
        """A format followed by the text `end`."""
        if not isinstance(tag_format, dict):
            raise StructuralTagError(f"{place} must be an object")
        kind = tag_format.get("type")
        write = getattr(self, f"_write_{kind}", None) if isinstance(kind, str) else None
        if write is None:
            known = ", ".join(sorted(name[7:] for name in dir(self) if name.startswith("_write_")))
            raise StructuralTagError(f"{place}: format {kind!r} is not supported; supported are {known}")
        return str(write(tag_format, end, place))

    def _write_const_string(self, tag_format: Mapping[str, Any], end: str, place: str) -> str:
        text = _string(tag_format, "value", place)
        if not text + end:
            raise StructuralTagError(f"{place}.value must not be empty")
        return self._rule(self._literal(text + end))

    def _write_json_schema(self, tag_format: Mapping[str, Any], end: str, place: str) -> str:
        schema = tag_format.get("json_schema")
        if not isinstance(schema, dict | bool):
            raise StructuralTagError(f"{place}.json_schema must be a JSON schema")
        return self._rule(f"%json {json.dumps(bounded(schema))} {self._literal(end)}")

    def _write_regex(self, tag_format: Mapping[str, Any], end: str, place: str) -> str:
        pattern = _slashed(_string(tag_format, "pattern", place))
        return self._rule(f"{pattern} {self._literal(end)}")

    def _write_grammar(self, tag_format: Mapping[str, Any], end: str, place: str) -> str:
        name = f"grammar_{len(self._others)}"
        self._others.append({"name": name, "lark_grammar": self._ebnf(_string(tag_format, "grammar", place))})
        return self._rule(f"@{name} {self._literal(end)}")

    def _write_any_text(self, tag_format: Mapping[str, Any], end: str, place: str) -> str:
        return self._until(end)

    def _write_sequence(self, tag_format: Mapping[str, Any], end: str, place: str) -> str:
        elements = list(_items(tag_format, "elements", place))
        written: list[str] = []
        while elements:
            inner_place, element = elements.pop(0)
            inner_end = "" if elements else end
            if isinstance(element, dict) and element.get("type") == "any_text" and elements:
                next_place, following = elements.pop(0)
                if not isinstance(following, dict) or following.get("type") != "const_string":
                    raise StructuralTagError(f"{inner_place}: any_text must be last, or followed by a const_string")
                inner_end = _string(following, "value", next_place) + ("" if elements else end)
            written.append(self._format(element, inner_end, inner_place))
        return self._rule(" ".join(written))

    def _write_or(self, tag_format: Mapping[str, Any], end: str, place: str) -> str:
        options = [self._format(element, end, inner) for inner, element in _items(tag_format, "elements", place)]
        return self._rule(" | ".join(options))

    def _write_tag(self, tag_format: Mapping[str, Any], end: str, place: str) -> str:
        return self._tag(tag_format, "", end, place)

    def _tag(self, tag: Any, begun: str, end: str, place: str) -> str:
        """A tag of whose `begin` the part `begun` has been written, followed by the text `end`."""
        if not isinstance(tag, dict):
            raise StructuralTagError(f"{place} must be an object")
        begin = self._literal(_string(tag, "begin", place)[len(begun) :])
        ends = tag.get("end", "")
        endings = ends if isinstance(ends, list) and ends else [ends]
        if not all(isinstance(ending, str) for ending in endings):
            raise StructuralTagError(f"{place}.end must be a string or a list of strings")
        bodies = [self._format(tag.get("content"), ending + end, f"{place}.content") for ending in endings]
        return self._rule(f"{begin} ({' | '.join(bodies)})")

    def _write_triggered_tags(self, tag_format: Mapping[str, Any], end: str, place: str) -> str:
        triggers = tag_format.get("triggers")
        if not isinstance(triggers, list) or not triggers or not all(isinstance(t, str) and t for t in triggers):
            raise StructuralTagError(f"{place}: `triggers` must be a list of strings that are not empty")
        tags = list(_items(tag_format, "tags", place))
        triggered: list[str] = []
        by_trigger: dict[str, list[str]] = {}
        for inner, tag in tags:
            begin = _string(tag, "begin", inner) if isinstance(tag, dict) else ""
            matching = [trigger for trigger in triggers if begin.startswith(trigger)]
            if not matching:
                raise StructuralTagError(f"{inner}.begin starts with none of the triggers")
            by_trigger.setdefault(matching[0], []).append(self._tag(tag, matching[0], "", inner))
        for trigger, bodies in by_trigger.items():
            triggered.append(self._rule(f"{self._until(trigger)} ({' | '.join(bodies)})"))
        one = " | ".join(triggered)
        first = (
            " | ".join(self._tag(tag, "", "", inner) for inner, tag in tags) if tag_format.get("at_least_one") else ""
        )
        rest = self._until(end)
        if tag_format.get("stop_after_first"):
            closing = self._literal(end)
            return self._rule(f"({first}) {closing}" if first else f"({one}) {closing} | {rest}")
        return self._rule(f"{f'({first})' if first else ''} ({one})* {rest}")

    def _write_tags_with_separator(self, tag_format: Mapping[str, Any], end: str, place: str) -> str:
        separator = self._literal(_string(tag_format, "separator", place))
        tag = " | ".join(self._tag(tag, "", "", inner) for inner, tag in _items(tag_format, "tags", place))
        one = self._rule(tag)
        several = one if tag_format.get("stop_after_first") else f"{one} ({separator} {one})*"
        several = several if tag_format.get("at_least_one") else f"({several})?"
        return self._rule(f"{several} {self._literal(end)}")


def _string(tag_format: Any, key: str, place: str) -> str:
    value = tag_format.get(key) if isinstance(tag_format, dict) else None
    if not isinstance(value, str):
        raise StructuralTagError(f"{place}.{key} must be a string")
    return value


def _items(tag_format: Mapping[str, Any], key: str, place: str) -> Sequence[tuple[str, Any]]:
    value = tag_format.get(key)
    if not isinstance(value, list) or not value:
        raise StructuralTagError(f"{place}.{key} must be a list that is not empty")
    return [(f"{place}.{key}[{index}]", item) for index, item in enumerate(value)]


def _slashed(pattern: str) -> str:
    """A regular expression between slashes, those within escaped."""
    escaped = False
    out = []
    for character in pattern:
        out.append("\\/" if character == "/" and not escaped else character)
        escaped = character == "\\" and not escaped
    return f"/{''.join(out)}/"
