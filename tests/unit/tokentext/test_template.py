"""Chat templates: the sandbox and its bounds, and the names that templates rely on."""

from __future__ import annotations

import copy
import datetime
import itertools
import json
import threading
from collections import OrderedDict
from typing import Any

import jinja2.sandbox
import pytest

from tokentext import ChatTemplate, TemplateError
from tokentext import template as module

USER = [{"role": "user", "content": "Hi"}]


def render(source: str, messages: list[dict[str, Any]] | None = None, **options: Any) -> str:
    return ChatTemplate(source).render(USER if messages is None else messages, **options)


# --- the sandbox -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ ''|attr('__class__') }}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__globals__['datetime'] }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ '{x.__class__}'.format_map({'x': 1}) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ dict.mro() }}",
        "{{ (lipsum or raise_exception).__globals__ }}",
        "{% set s = namespace() %}{{ s.__class__ }}",
    ],
)
def test_internals_are_out_of_reach(source: str) -> None:
    try:
        shown = render(source)
    except TemplateError:
        return
    assert shown == ""  # what must not be seen is undefined, and shows as nothing


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append({}) }}",
        "{{ messages.clear() }}",
        "{{ messages.pop() }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{{ messages[0].pop('content') }}",
        "{{ messages[0].setdefault('name', 'x') }}",
        "{{ messages[0].content_parts.insert(0, 'x') }}",
        "{{ tools[0].clear() }}",
        "{% do messages.append(1) %}",
        "{% set messages[0].role = 'system' %}",
    ],
)
def test_messages_cannot_be_changed(source: str) -> None:
    messages = [{"role": "user", "content": "Hi", "content_parts": ["a"], "tool_calls": [call('{"a": 1}')]}]
    tools = [{"type": "function", "function": {"name": "f"}}]
    before = copy.deepcopy((messages, tools))
    with pytest.raises(TemplateError):
        render(source, messages, tools=tools)
    assert (messages, tools) == before


def test_no_other_template_or_file_can_be_loaded() -> None:
    for source in ("{% include '/etc/passwd' %}", "{% extends 'x' %}", "{% import 'os' as os %}"):
        with pytest.raises(TemplateError):
            render(source)


def test_a_huge_range_is_refused() -> None:
    with pytest.raises(TemplateError, match="100000"):
        render("{% for i in range(10**9) %}x{% endfor %}")


def test_endless_output_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PROMPT_CHARACTERS", 10_000)
    with pytest.raises(TemplateError, match="longer than 10,000 characters"):
        render("{% for i in range(99999) %}0123456789{% endfor %}")
    assert len(render("{% for i in range(1000) %}0123456789{% endfor %}")) == 10_000


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% set x %}{% for i in range(99999) %}{% for j in range(99999) %}y{% endfor %}{% endfor %}{% endset %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% for i in [1, 2] recursive %}{% if loop.depth < 90 %}{{ loop([1, 2]) }}{% endif %}{% endfor %}",
        "{% set ns = namespace(a=[1]) %}{% for i in range(9999) %}{% set ns.a = ns.a + ns.a %}"
        "{% for j in ns.a %}{% endfor %}{% endfor %}",
    ],
)
def test_endless_work_is_refused(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STEPS", 50_000)
    with pytest.raises(TemplateError, match="more than 50,000 steps"):
        render(source)


def test_steps_are_counted_for_each_rendering_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STEPS", 1000)
    template = ChatTemplate("{% for i in range(900) %}{% endfor %}ok")
    assert [template.render(USER) for _ in range(5)] == ["ok"] * 5


def test_deep_recursion_is_a_template_error() -> None:
    with pytest.raises(TemplateError):
        render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(TemplateError):
        render("{{ messages[0].content | tojson }}", [{"role": "user", "content": deep}])


@pytest.mark.parametrize(
    "source",
    [
        "{% if %}",
        "{{ unclosed",
        "{% for m in messages %}",
        "{{ x | no_such_filter }}",
        "".join(f"{{% for a{i} in x %}}" for i in range(30)) + "{% endfor %}" * 30,
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    ],
)
def test_a_source_that_does_not_compile(source: str) -> None:
    with pytest.raises(TemplateError, match="not valid"):
        ChatTemplate(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 // 0 }}",
        "{{ messages[0].content + 1 }}",
        "{{ missing.key }}",
        "{{ messages[7].role }}",
        "{{ 'a' + none }}",
        "{{ strftime_now(1) }}",
        "{{ missing | tojson }}",
        "{% for x in 5 %}{% endfor %}",
        "{{ 'x' * (10**15) }}{{ messages }}",
    ],
)
def test_whatever_goes_wrong_is_a_template_error(source: str) -> None:
    with pytest.raises(TemplateError):
        render(source)


# --- what templates rely on ------------------------------------------------------------------------------------


def test_raise_exception_passes_the_templates_own_words() -> None:
    with pytest.raises(TemplateError) as caught:
        render("{{ raise_exception('roles must alternate: user, assistant') }}")
    assert str(caught.value) == "roles must alternate: user, assistant"


def test_strftime_now() -> None:
    before = datetime.datetime.now()
    shown = render("{{ strftime_now('%Y-%m-%d %H:%M:%S') }}")
    assert before.replace(microsecond=0) <= datetime.datetime.strptime(shown, "%Y-%m-%d %H:%M:%S")
    assert datetime.datetime.strptime(shown, "%Y-%m-%d %H:%M:%S") <= datetime.datetime.now()


def test_tojson_keeps_text_and_order() -> None:
    value = OrderedDict([("zebra", "Zürich 日本 <b>&'\"</b>"), ("apple", [1, 2.5, None, True])])
    message = [{"role": "user", "content": value}]
    assert render("{{ messages[0].content | tojson }}", message) == json.dumps(value, ensure_ascii=False)
    assert render("{{ messages[0].content | tojson(indent=2) }}", message) == json.dumps(
        value, ensure_ascii=False, indent=2
    )
    assert render("{{ messages[0].content | tojson(ensure_ascii=True) }}", message) == json.dumps(value)
    assert render("{{ messages[0].content | tojson(separators=(',', ':'), sort_keys=true) }}", message) == json.dumps(
        value, ensure_ascii=False, separators=(",", ":"), sort_keys=True
    )
    with pytest.raises(TemplateError):
        render("{{ messages | tojson(no_such_option=1) }}")


def call(arguments: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ('{"city": "Zürich", "n": 2}', {"city": "Zürich", "n": 2}),
        ("{}", {}),
        ({"a": 1}, {"a": 1}),
        ("[1, 2]", "[1, 2]"),
        ('"text"', '"text"'),
        ("not json", "not json"),
        ("", ""),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_arguments_that_are_objects_in_a_string_become_objects(arguments: Any, seen: Any) -> None:
    messages = [{"role": "assistant", "tool_calls": [call(arguments)]}]
    before = copy.deepcopy(messages)
    source = "{% for c in messages[0].tool_calls %}{{ c.id }} {{ c.function.arguments | tojson }}{% endfor %}"
    assert render(source, messages) == f"call_1 {json.dumps(seen, ensure_ascii=False)}"
    assert messages == before


@pytest.mark.parametrize("calls", [None, [], "x", ["x"], [None], [{"function": None}], [{"function": "f"}], [{}]])
def test_tool_calls_of_another_form_are_left_alone(calls: Any) -> None:
    messages = [{"role": "assistant", "content": "a", "tool_calls": calls}]
    assert render("{{ messages[0].tool_calls is defined }}", messages) == str(calls is not None)


def test_keys_without_a_value_are_left_out() -> None:
    """An assistant message with tool calls has `content: null`; a template would write `None`."""
    messages = [{"role": "assistant", "content": None, "name": None, "refusal": None}]
    assert render("{{ messages[0].content }}|{{ 'content' in messages[0] }}|{{ messages[0] | length }}", messages) == (
        "|False|1"
    )


def test_tools_and_the_generation_prompt() -> None:
    source = "{{ tools is none }} {{ add_generation_prompt }}"
    assert render(source) == "True True"
    assert render(source, tools=[]) == "True True"
    assert render(source, tools=[{"type": "function"}], add_generation_prompt=False) == "False False"


def test_further_variables_and_special_tokens() -> None:
    template = ChatTemplate(
        "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ pad_token }}{% if enable_thinking %}T{% endif %}",
        tokens={"bos_token": "<s>", "eos_token": "</s>", "pad_token": None},
    )
    assert template.render(USER) == "<s>Hi</s>"
    assert template.render(USER, enable_thinking=True) == "<s>Hi</s>T"
    assert template.render(USER, bos_token="[") == "[Hi</s>"


def test_variables_cannot_replace_the_messages() -> None:
    template = ChatTemplate("{{ messages | length }}{{ add_generation_prompt }}")
    assert template.render(USER, **{"strftime_now": "x"}) == "1True"
    with pytest.raises(TypeError):
        template.render(USER, **{"messages": []})  # type: ignore[misc]


def test_another_template_with_tools() -> None:
    template = ChatTemplate("plain", tools_source="with {{ tools | length }}")
    assert template.render(USER) == "plain"
    assert template.render(USER, tools=[]) == "plain"
    assert template.render(USER, tools=[{"type": "function"}]) == "with 1"


def test_the_generation_tag_marks_nothing_here() -> None:
    source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    assert render(source) == "Hi"
    assert render("a{%- generation -%}  b {% endgeneration %}c") == "ab c"


def test_loop_controls() -> None:
    messages = [{"role": "user", "content": text} for text in "abcd"]
    source = (
        "{% for m in messages %}{% if m.content == 'b' %}{% continue %}{% endif %}"
        "{% if m.content == 'd' %}{% break %}{% endif %}{{ m.content }}{% endfor %}"
    )
    assert render(source, messages) == "ac"


def test_every_feature_of_loops_survives_the_counting() -> None:
    messages = [{"role": "user", "content": text} for text in "abc"]
    source = (
        "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ m.content }}"
        "{{ loop.first }}{{ loop.last }}{{ loop.revindex }}"
        "{% if not loop.first %}{{ loop.previtem.content }}{% endif %}{% if not loop.last %}{{ loop.nextitem.content }}"
        "{% endif %};{% endfor %}"
        "{% for m in messages if m.content != 'b' %}{{ loop.length }}{{ m.content }}{% endfor %}"
        "{% for k, v in {'x': 1, 'y': 2}.items() %}{{ k }}{{ v }}{% endfor %}"
        "{% for c in 'né' %}[{{ c }}]{% endfor %}{% for x in missing %}{% else %}none{% endfor %}"
        "{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{% endif %}"
        "{% endfor %}"
    )
    plain = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    assert render(source, messages) == plain.from_string(source).render(messages=messages)


def test_blocks_are_trimmed_as_transformers_does() -> None:
    assert render("a\n   {% if true %}\nb\n   {% endif %}\nc\n") == "a\nb\nc"


def test_one_template_in_many_threads() -> None:
    template = ChatTemplate("{% for m in messages %}{{ m.content }},{% endfor %}")
    failures: list[object] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        messages = [{"role": "user", "content": f"{number}-{index}"} for index in range(50)]
        wanted = "".join(f"{number}-{index}," for index in range(50))
        start.wait()
        failures.extend(None for _ in itertools.repeat(0, 100) if template.render(messages) != wanted)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
