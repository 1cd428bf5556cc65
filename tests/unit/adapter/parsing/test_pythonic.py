"""Calls written as Python: what they hold is what Python reads in them, wherever they are cut."""

from __future__ import annotations

import ast
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.parsing.parsed import CallArguments, CallBroken
from adapter.parsing.pythonic import Lfm2, Pythonic
from adapter.parsing.tool_format import Tool
from tests.unit.adapter.parsing.splits import Call, calls_of, content_of, parse, random_pieces, run

TOOLS = [Tool("get_weather"), Tool("now"), Tool("files.read-all")]
LFM = "<|tool_call_start|>", "<|tool_call_end|>"


def read(text: str) -> tuple[str, list[Call]]:
    events = parse(lambda: Pythonic().parser(TOOLS), text)
    return content_of(events), calls_of(events)


def value(literal: str) -> Any:
    """What the call's argument is; the cut makes no difference."""
    content, calls = read(f"[get_weather(x={literal})]")
    assert content == "" and [call.end for call in calls] == ["complete"], (literal, calls)
    return json.loads(calls[0].arguments)["x"]


PARIS = Call("get_weather", '{"city": "Paris", "n": 3}')


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ('[get_weather(city="Paris", n=3)]', "", [PARIS]),
        ("[get_weather(city='Paris', n=3,), now(),]", "", [PARIS, Call("now", "{}")]),
        ("[\n  get_weather(\n    city = 'Paris',\n    n = 3\n  ),\n  now( )\n]\n", "", [PARIS, Call("now", "{}")]),
        ("\n[now()]", "", [Call("now", "{}")]),
        ("I look.\n[get_weather(city='Paris', n=3)]\nDone.", "I look.\nDone.", [PARIS]),
        ("[now()]\n[now()]", "", [Call("now", "{}"), Call("now", "{}")]),
        ("<|python_start|>[get_weather(city='Paris', n=3)]<|python_end|>", "", [PARIS]),
        ("Hm. <|python_start|>[now()]<|python_end|> Yes", "Hm. Yes", [Call("now", "{}")]),
        ("<|python_tag|>get_weather(city='Paris', n=3)", "", [PARIS]),
        ("<|python_tag|>now()", "", [Call("now", "{}")]),
        ("[files.read-all(a.b-c=1)]", "", [Call("files.read-all", '{"a.b-c": 1}')]),
        (LFM[0] + "[get_weather(city='Paris', n=3), now()]" + LFM[1] + "So.", "So.", [PARIS, Call("now", "{}")]),
        (
            LFM[0] + '[get_weather(city="a\nb", n=null, k={"l": [true, false]})]' + LFM[1],
            "",
            [Call("get_weather", '{"city": "a\\nb", "n": null, "k": {"l": [true, false]}}')],
        ),
        (
            LFM[0] + '[{"name": "get_weather", "arguments": {"city": "Paris", "n": 3}}, {"name": "now"}]' + LFM[1],
            "",
            [PARIS, Call("now", "{}")],
        ),
    ],
)
def test_samples(text: str, content: str, calls: list[Call]) -> None:
    assert read(text) == (content, calls)


@pytest.mark.parametrize(
    "text",
    [
        "[1] see the notes",
        "[now](https://example.org)",
        "[now() for _ in range(3)]",
        "Look:\n[link](x)\n[ ] todo\n[x] done\n[",
        "[]",
        "[",
        "[now(",
        "[now",
        "[now()",
        "[(a=1)]",
        '[get_weather("Paris")]',
        "[get_weather(city)]",
        "[get_weather(city == 'x')]",
        "[get_weather(**{'city': 'x'})]",
        "[get_weather.now(x=1)]",
        "[launch(city='Paris', deep=[1, {'a': 2}])] and more",
        "<|python_tag|>print('hello')",
        "<|tool_call_start|>get_weather",
        "a = [get_weather(city='Paris')]",
        '{"name": "now", "parameters": {}}',
        "[" * 300,
        "[" + "a" * 300 + "(x=1)]",
        "\n\n  \n",
    ],
)
def test_what_is_no_call(text: str) -> None:
    assert read(text) == (text, [])


def test_an_unknown_name_among_calls_stays_content() -> None:
    now = [Call("now", "{}")]
    assert read("[launch(x=1), now()] Done") == ("[launch(x=1), Done", now)
    assert read("[now(), launch(x=1)] Done") == ("launch(x=1) Done", now)


LITERALS = [
    "1", "-1", "+1", "0", "00", "1_000", "0x1F", "0o17", "0b101", "-0xff", "123456789012345678901234567890",
    "1.5", "1.", ".5", "-.5e-3", "1e5", "1E+5", "1_0.2_5e1_0", "01.5", "0e0", "1.10",
    "True", "False", "None", "[]", "{}", "()", "[1,]", "(1,)", "(1)", "((1), 2)", "(('a' 'b'))", "(1, (2, [3]),)",
    "{'a': 1, 'b': {'c': [None, True]},}", '{"a" "b": ("c")}',
    "''", '""', "'a'", "'it\\'s'", '"say \\"x\\""', "'\\n\\t\\r\\\\\\a\\b\\f\\v\\0'",
    "'\\x41\\u00e9\\U0001F600\\101\\1018'",
    "'a\\\nb'", "'\\d+ \\. \\('", "'a' 'b'\n\"c\"", "'''a'b''c'''", '"""x\n"y" ""z"""', "''''a'''", '""""""',
    "r'\\d\\'\\n'",
    "u'x'", "'é 日本 😀 \u2028'", "'[now()]'", "'<|python_end|>'", "'{\"a\": 1}'", "'</script>'", "'%s {x}'",
]  # fmt: skip


@pytest.mark.parametrize("literal", LITERALS)
@pytest.mark.filterwarnings("ignore")
def test_literals_are_read_as_python_reads_them(literal: str) -> None:
    expected = json.loads(json.dumps(ast.literal_eval(f"({literal})")))
    read_value = value(literal)
    assert read_value == expected and type(read_value) is type(expected)


def test_what_json_writes_in_its_own_way() -> None:
    assert value("{1: 'a', -2.5: 'b', True: 'c', None: 'd'}") == {"1": "a", "-2.5": "b", "true": "c", "null": "d"}
    assert value("'\\ud83d\\ude00'") == "😀"
    assert read("[now(x='\\ud83d')]")[1] == [Call("now", '{"x": "\\ud83d"}')]
    assert read("[now(x=1.10, y=1e400, z=1_0)]")[1] == [Call("now", '{"x": 1.10, "y": 1e400, "z": 10}')]
    assert value("true") is True and value("null") is None


@pytest.mark.parametrize(
    "rest",
    [
        "b'x'", "f'{x}'", "rb'x'", "{1, 2}", "{'a'}", "{[1]: 2}", "{'a': }", "{'a' 1}", "[1 2]", "[1}", "(1 2)", "(,)",
        "1j", "007", "1__0", "0x", "1.2.3", "1e", "--1", "- 'a'", "2 + 2", "'a' * 3", "'a' + 'b'", "'a'.upper()",
        "now()", "other", "nan", "float('inf')", "...", "lambda: 0", "*[1]", "/", "'\\x4'", "'\\u00g0'",
        "'\\UFFFFFFFF'", "'\\N{DASH}'", "1, 2", "1, now()", "1, x=2", "1, y==2", "1]", "[" * 65, "(" * 65, "1" * 2000,
        "(" + "'" + "a" * 300_000,
    ],
)  # fmt: skip
def test_what_breaks_a_call(rest: str) -> None:
    events = run(Pythonic().parser(TOOLS), [f"[get_weather(x={rest})] more"])
    (call,) = calls_of(events)
    assert call.end == "broken" and isinstance(events[-1], CallBroken) and events[-1].reason
    if len(rest) < 100:
        assert parse(lambda: Pythonic().parser(TOOLS), f"[get_weather(x={rest})] more") == events


def test_depth_of_64_is_read() -> None:
    depth = 64
    assert json.dumps(value("[" * depth + "]" * depth)) == "[" * depth + "]" * depth


def test_arguments_stream_as_they_come() -> None:
    parser = Pythonic().parser(TOOLS)
    seen = []
    for piece in ("[get_weather(te", "xt='ab", "cd", "\\", "nef", "', n=1", "2", ", m=[1", ", 'x'", "])", "]"):
        pieces = [event.text for event in parser.push(piece) if isinstance(event, CallArguments)]
        assert len(pieces) <= 1, "a message to the client for each"
        seen.append("".join(pieces))
    assert seen == [
        "", '{"text": "ab', "cd", "", "\\nef", '", "n": ', "", '12, "m": [', '1, "x', '"]}', "",
    ]  # fmt: skip


def test_every_beginning_of_an_answer() -> None:
    raw = "Ok.\n[get_weather(city='Paris', n=[1, (2, 'x')], s='''a'b'''), now()]"
    _, whole = read(raw)
    for size in range(len(raw)):
        events = run(Pythonic().parser(TOOLS), [raw[:size]])
        calls = calls_of(events)
        if not calls:
            assert content_of(events) == raw[:size]
        for call, full in zip(calls, whole, strict=False):
            assert full.arguments.startswith(call.arguments)
            assert (call.end == "complete") == (call.arguments == full.arguments)


def test_calls_are_written_as_they_are_read() -> None:
    calls = [("get_weather", '{"city": "it\'s \\n é", "n": [1, null, true, {"a": -1.5}]}'), ("now", "{}")]
    for family in (Pythonic(), Lfm2()):
        content, found = read(family.written(calls))
        assert content == "" and [(call.name, call.arguments) for call in found] == calls
    assert Lfm2().written([("now", "{}")]) == "<|tool_call_start|>[now()]<|tool_call_end|>"
    assert Pythonic().written([("now", "nonsense")]) == "[now(nonsense)]"


plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(plain | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "b", "é"]), literals), min_size=1, max_size=3), st.integers(0, 2**32)
)
def test_what_python_writes_is_read_back(calls: list[dict[str, Any]], seed: int) -> None:
    written = [f"get_weather({', '.join(f'{key}={item!r}' for key, item in call.items())})" for call in calls]
    raw = f"[{', '.join(written)}]"
    events = run(Pythonic().parser(TOOLS), random_pieces(raw, random.Random(seed)))
    assert [json.loads(call.arguments) for call in calls_of(events)] == [json.loads(json.dumps(call)) for call in calls]
    assert all(call.end == "complete" for call in calls_of(events))
    assert run(Pythonic().parser(TOOLS), [raw]) == events == run(Pythonic().parser(TOOLS), list(raw))


PIECES = [
    "[",
    "]",
    "(",
    ")",
    ",",
    "=",
    "now",
    "get_weather",
    "x",
    "'",
    '"',
    "'''",
    "\\",
    "1",
    "-",
    ".",
    "e",
    "r",
    "u",
    "{",
    "}",
]
PIECES += [
    ":",
    " ",
    "\n",
    "None",
    "[now(",
    "[get_weather(x=",
    *LFM,
    "<|python_start|>",
    "<|python_end|>",
    "<|python_tag|>",
    "<|",
]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=18), st.integers(0, 2**32))
def test_any_text_is_the_same_however_cut(pieces: list[str], seed: int) -> None:
    text = "".join(pieces)
    whole = run(Pythonic().parser(TOOLS), [text])
    for cut in (list(text), pieces, random_pieces(text, random.Random(seed))):
        assert run(Pythonic().parser(TOOLS), cut) == whole
    if not calls_of(whole):
        assert content_of(whole) == text


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["'", '"', "\\", "n", "x41", "u00e9", "a", " ", "\n", "r", "1", "7"]), max_size=12).map(
        "".join
    )
)
@pytest.mark.filterwarnings("ignore")
def test_strings_as_python_reads_them(body: str) -> None:
    """Where Python reads a string, so does the parser, and the same one."""
    for quote in ("'", '"', "'''", '"""'):
        literal = quote + body + quote
        try:
            expected = ast.literal_eval(literal)
        except (ValueError, SyntaxError):
            continue
        if isinstance(expected, str):
            (call,) = calls_of(run(Pythonic().parser(TOOLS), [f"[now(x={literal})]"]))
            assert json.loads(call.arguments) == {"x": expected}
