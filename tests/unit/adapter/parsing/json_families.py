"""What the tests of all families with JSON arguments share: tools, and the same demands on each family."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from hypothesis import strategies as st

from adapter.parsing.parsed import OutputParser
from adapter.parsing.tool_format import Tool, ToolFormat
from tests.unit.adapter.parsing.splits import Call, calls_of, content_of, parse, random_pieces, run

TOOLS = [Tool("get_weather"), Tool("now")]
WEATHER = '{"city": "Zürich 🏔️", "note": "a \\"b\\" {}[] \\u00e9 \\ud83d\\ude00"}'

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
made_calls = st.lists(
    st.tuples(st.sampled_from(["get_weather", "now"]), st.dictionaries(st.text(), values, max_size=3)),
    min_size=1,
    max_size=3,
)


def parser_of(family: ToolFormat) -> Callable[[], OutputParser]:
    return lambda: family.parser(TOOLS)


def read(family: ToolFormat, text: str) -> tuple[str, list[Call]]:
    """Content and calls, whatever the cutting."""
    events = parse(parser_of(family), text)
    return content_of(events), calls_of(events)


def rendered(family: ToolFormat, calls: list[tuple[str, str]]) -> str:
    """Calls as the family's syntax has a guide write them."""
    syntax = family.syntax
    assert syntax is not None
    written = [family.call_begin(name) + arguments + syntax.end for name, arguments in calls]
    return syntax.open + syntax.separator.join(written) + syntax.close


def round_trip(
    family: ToolFormat, calls: list[tuple[str, dict[str, object]]], ascii: bool, seed: int, before: str = ""
) -> None:
    """Rendered calls are read as exactly these, whole and in random cuts."""
    texts = [(name, json.dumps(arguments, ensure_ascii=ascii)) for name, arguments in calls]
    raw = before + rendered(family, texts)
    whole = run(family.parser(TOOLS), [raw])
    assert [(call.name, call.arguments, call.end) for call in calls_of(whole)] == [
        (*text, "complete") for text in texts
    ]
    assert content_of(whole) == before
    assert run(family.parser(TOOLS), random_pieces(raw, random.Random(seed))) == whole


def syntax_holds(family: ToolFormat) -> None:
    """The syntax is read as calls at every cut; triggers are prefixes of it."""
    syntax = family.syntax
    assert syntax is not None
    for trigger in syntax.triggers:
        assert (syntax.open + family.call_begin("get_weather")).startswith(trigger)
    content, calls = read(family, rendered(family, [("get_weather", WEATHER), ("now", "{}")]))
    assert content == ""
    assert [(call.name, call.arguments, call.end) for call in calls] == [
        ("get_weather", WEATHER, "complete"),
        ("now", "{}", "complete"),
    ]


def unfinished_holds(family: ToolFormat) -> None:
    """Every beginning of a call: no call passed off as complete, and nothing lost before the call begins."""
    raw = rendered(family, [("get_weather", WEATHER)])
    for size in range(len(raw)):
        events = run(family.parser(TOOLS), [raw[:size]])
        calls = calls_of(events)
        if not calls:
            assert content_of(events) == raw[:size]
        else:
            assert content_of(events) == ""
            assert WEATHER.startswith(calls[0].arguments)
            assert (calls[0].end == "complete") == (calls[0].arguments == WEATHER)


def broken_holds(family: ToolFormat) -> None:
    """Arguments that stop being JSON break the call; too deep ones too."""
    syntax = family.syntax
    assert syntax is not None
    begin = syntax.open + family.call_begin("get_weather")
    content, calls = read(family, begin + '{"a": nope} more text')
    assert (content, calls) == ("", [Call("get_weather", '{"a": n', calls[0].id, "broken")])
    deep = run(family.parser(TOOLS), [begin + '{"a": ' + "[" * 10_000])
    assert calls_of(deep)[0].end == "broken"


def unknown_holds(family: ToolFormat) -> None:
    """An unknown tool's call is content, whole."""
    raw = "Well. " + rendered(family, [("launch", '{"a": 1}')]) + " Done."
    assert read(family, raw) == (raw, [])


def garbage_holds(family: ToolFormat, text: str) -> None:
    """Any text: no error, the same at random cuts, nothing lost without a call."""
    whole = run(family.parser(TOOLS), [text])
    assert run(family.parser(TOOLS), list(text)) == whole
    if not calls_of(whole):
        assert content_of(whole) == text
