"""Which format a model gets."""

from __future__ import annotations

from pathlib import Path

from adapter.parsing.formats import TOOL_FORMATS, format_for
from adapter.parsing.hermes import Hermes
from adapter.parsing.template_format import TemplateFormat
from adapter.parsing.tool_format import Tool
from adapter.parsing.tool_prompt import PLAIN
from build.catalog import load_catalog
from tests.unit.adapter.parsing.test_template_format import FORMS, HEAD, TAIL
from tokentext import ChatTemplate

DATA = Path(__file__).parents[3] / "data" / "chat_templates"


def template(name: str) -> ChatTemplate:
    return ChatTemplate((DATA / f"{name}.jinja").read_text(encoding="utf-8"))


def test_by_name() -> None:
    for name, made in TOOL_FORMATS.items():
        assert format_for(name, None) is made
        made.parser([Tool("f")])


def test_the_catalog_names_formats() -> None:
    parsers = [entry.tool_parser for entry in load_catalog().entries]
    assert any(parsers)
    for name in parsers:
        format_for(name, None)


def test_by_template() -> None:
    assert isinstance(format_for("", template("qwen2.5")), Hermes)
    assert format_for("", template("smollm2")) is PLAIN
    assert format_for("", None) is PLAIN
    for marker, name in [
        ("<|tool_calls_section_begin|>", "kimi_k2"),
        ("<｜tool▁calls▁begin｜>\\n```json", "deepseek_v3"),
        ("<｜tool▁calls▁begin｜>", "deepseek_v31"),
        ("[TOOL_CALLS]", "mistral"),
        ("<|channel|>final<|message|>", "harmony"),
        ("List of tools: <|tool_list_start|>", "lfm2"),
        ("put it in the format of [func_name1(params_name1=params_value1)]", "pythonic"),
    ]:
        assert format_for("", ChatTemplate("{{ '" + marker + "' }}")) is TOOL_FORMATS[name]


def test_derived_once() -> None:
    unknown = ChatTemplate(HEAD + FORMS["object in tags"][0] + TAIL)
    made = format_for("", unknown)
    assert isinstance(made, TemplateFormat)
    assert format_for("", unknown) is made
