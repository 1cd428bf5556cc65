"""Formats derived from chat templates. The templates are our own, in the forms that models use."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.parsing.template_format import derived_format
from adapter.parsing.tool_format import Tool
from tests.unit.adapter.parsing.splits import Call, calls_of, content_of, parse
from tokentext import ChatTemplate

DATA = Path(__file__).parents[3] / "data" / "chat_templates"
HEAD = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.tool_calls %}{% for call in m.tool_calls %}"
    "{% set f = call.function %}"
)
TAIL = "{% endfor %}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
BODY = '{"name": "{{ f.name }}", "arguments": {{ f.arguments | tojson }}}'
FORMS = {
    "object in tags": ("<call>" + BODY + "</call>\n", '<call>{"name": "a", "arguments": {}}</call>'),
    "lines in one pair of tags": (
        "{% if loop.first %}<tool_calls>\n{% endif %}" + BODY + "\n{% if loop.last %}</tool_calls>{% endif %}",
        '<tool_calls>\n{"name": "a", "arguments": {}}\n</tool_calls>',
    ),
    "array in tags": (
        "{{ '<|calls|>[' if loop.first else ', ' }}" + BODY + "{{ ']<|/calls|>' if loop.last }}",
        '<|calls|>[{"name": "a", "arguments": {}}]<|/calls|>',
    ),
    "name in the tag": ("<function={{ f.name }}>{{ f.arguments | tojson }}</function>", "<function=a>{}</function>"),
    "special tokens": (
        "{{ '<|calls_begin|>' if loop.first }}<|call_begin|>{{ f.name }}<|call_sep|>{{ f.arguments | tojson }}"
        "<|call_end|>{{ '<|calls_end|>' if loop.last }}",
        "<|calls_begin|><|call_begin|>a<|call_sep|>{}<|call_end|><|calls_end|>",
    ),
    "bare object": (
        "{{ '; ' if not loop.first }}" + '{"name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}',
        '{"name": "a", "parameters": {}}',
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str) -> None:
    source, example = FORMS[form]
    made = derived_format(ChatTemplate(HEAD + source + TAIL))
    assert made is not None
    syntax = made.syntax
    assert syntax is not None
    assert syntax.open + made.call_begin("a") + "{}" + syntax.end + syntax.close == example
    tools = [Tool("f-1"), Tool("g")]
    first, second = '{"x": "}] </call> 東京", "y": [1, {}]}', "{}"
    calls = [made.call_begin("f-1") + first + syntax.end, made.call_begin("g") + second + syntax.end]
    text = syntax.open + syntax.separator.join(calls) + syntax.close
    events = parse(lambda: made.parser(tools), text)
    assert calls_of(events) == [Call("f-1", first), Call("g", second)]
    assert content_of(events) == ""
    if syntax.triggers:
        events = parse(lambda: made.parser(tools), "I look: " + text)
        assert content_of(events).strip() == "I look:"
        assert len(calls_of(events)) == 2
    plain = 'No call, {"only": "JSON"} and <b>tags</b>.'
    assert content_of(parse(lambda: made.parser(tools), plain)) == plain
    other = text.replace("f-1", "h").replace(made.call_begin("g"), made.call_begin("h"))
    events = parse(lambda: made.parser(tools), other)
    assert calls_of(events) == []
    assert content_of(events) == other


def test_special_tokens_are_named() -> None:
    made = derived_format(ChatTemplate(HEAD + FORMS["special tokens"][0] + TAIL))
    assert made is not None
    names = {"calls_begin", "call_begin", "call_sep", "call_end", "calls_end"}
    assert made.special_tokens == {f"<|{name}|>" for name in names}


def test_a_real_template() -> None:
    made = derived_format(ChatTemplate((DATA / "qwen2.5.jinja").read_text(encoding="utf-8")))
    assert made is not None
    assert made.call_begin("f") == '<tool_call>\n{"name": "f", "arguments": '
    assert made.syntax is not None
    assert (made.syntax.end, made.syntax.separator, made.syntax.open) == ("}\n</tool_call>", "\n", "")


def test_what_follows_an_answer_is_no_part_of_it() -> None:
    """Some templates write a further turn after calls."""
    more = TAIL.replace("{% endfor %}{% else %}", "{% endfor %}<|im_end|>\n<|im_start|>system\nWait.{% else %}", 1)
    made = derived_format(ChatTemplate(HEAD + FORMS["array in tags"][0] + more + "{{ 'x' if messages[-1].content }}"))
    assert made is not None
    assert made.syntax is not None
    assert made.syntax.close == "]<|/calls|>"


def test_one_call_only() -> None:
    one = "{% if m.tool_calls | length > 1 %}{{ raise_exception('one call') }}{% endif %}"
    made = derived_format(ChatTemplate(HEAD + one + FORMS["object in tags"][0] + TAIL))
    assert made is not None
    assert made.call_begin("f") == '<call>{"name": "f", "arguments": '


@pytest.mark.parametrize(
    "body",
    [
        "<call>{{ f.name }}{% for key, value in f.arguments.items() %}<arg>{{ value }}</arg>{% endfor %}</call>",
        '<call>{"arguments": {{ f.arguments | tojson }}, "name": "{{ f.name }}"}</call>',
        '<call id="{{ call.id }}">' + BODY + "</call>",
        "a call",
        "{{ raise_exception('no calls') }}",
        "<call>{{ f.name }}{{ f.arguments | tojson }}</call>",
    ],
    ids=["not JSON", "name last", "ids", "nothing", "refused", "nothing between"],
)
def test_forms_that_are_not_understood(body: str) -> None:
    assert derived_format(ChatTemplate(HEAD + body + TAIL)) is None


def test_no_calls_at_all() -> None:
    assert derived_format(ChatTemplate((DATA / "smollm2.jinja").read_text(encoding="utf-8"))) is None
