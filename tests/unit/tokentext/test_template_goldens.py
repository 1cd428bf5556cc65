"""Prompts of real models' templates, against what `transformers` made of them (tests/data/chat_templates)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tokentext import ChatTemplate

DATA = Path(__file__).parents[2] / "data" / "chat_templates"


def cases() -> list[Any]:
    found = []
    for path in sorted(DATA.glob("*.json")):
        golden = json.loads(path.read_text(encoding="utf-8"))
        found += [
            pytest.param(path.stem, golden["tokens"], case, id=f"{path.stem}: {case['name']}")
            for case in golden["cases"]
        ]
    return found


def template_of(name: str, tokens: dict[str, str | None]) -> ChatTemplate:
    return ChatTemplate((DATA / f"{name}.jinja").read_text(encoding="utf-8"), tokens=tokens)


def as_openai_sends(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Arguments of tool calls as JSON in a string, and every optional key there with null."""
    sent = copy.deepcopy(messages)
    for message in sent:
        message.setdefault("name", None)
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
    return sent


def test_there_are_goldens() -> None:
    assert {case.values[0] for case in cases()} == {"qwen2.5", "smollm2"}
    assert len(cases()) >= 14


@pytest.mark.parametrize(("name", "tokens", "case"), cases())
def test_the_prompt_is_that_of_transformers(name: str, tokens: dict[str, str | None], case: dict[str, Any]) -> None:
    template = template_of(name, tokens)
    options = {"tools": case.get("tools"), "add_generation_prompt": case.get("add_generation_prompt", True)}
    assert template.render(case["messages"], **options) == case["rendered"]
    assert template.render(as_openai_sends(case["messages"]), **options) == case["rendered"]


def test_a_tool_call_without_content() -> None:
    """`content: null`, as OpenAI's API has it, gives the same prompt as no content and as an empty one."""
    golden = json.loads((DATA / "qwen2.5.json").read_text(encoding="utf-8"))
    case = next(case for case in golden["cases"] if case["name"] == "tool call and its answer")
    template = template_of("qwen2.5", golden["tokens"])
    messages = copy.deepcopy(case["messages"])
    messages[1]["content"] = None
    assert template.render(messages, tools=case["tools"]) == case["rendered"]
    del messages[1]["content"]
    assert template.render(messages, tools=case["tools"]) == case["rendered"]
