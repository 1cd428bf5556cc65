"""gpt-oss: channels, recipients and calls, wherever the text is cut."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.parsing.harmony import MAX_HEADER, Harmony
from adapter.parsing.parsed import Content, Reasoning
from adapter.parsing.tool_format import Tool
from tests.unit.adapter.parsing import json_families as shared
from tests.unit.adapter.parsing.splits import (
    Call,
    calls_of,
    content_of,
    parse,
    random_pieces,
    reasoning_of,
    run,
)

FAMILY = Harmony()
TOOLS = [Tool("get_weather"), Tool("now"), Tool("a.b-c")]
NEXT = "<|start|>assistant"
CALL = "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
FINAL = "<|channel|>final<|message|>"
ANALYSIS = "<|channel|>analysis<|message|>"


def read(text: str, prompt: str = "") -> tuple[str, str, list[Call]]:
    """Reasoning, content and calls, whatever the cutting."""
    events = parse(lambda: FAMILY.parser_after(prompt, TOOLS), text)
    return reasoning_of(events), content_of(events), calls_of(events)


# ---- headers


@pytest.mark.parametrize(
    "header",
    [
        "<|channel|>commentary to=functions.now <|constrain|>json",
        "<|channel|>commentary to=functions.now<|constrain|>json",
        "<|channel|>commentary to=functions.now json",
        "<|channel|>commentary to=functions.now",
        "<|channel|>analysis to=functions.now <|constrain|> json",
        "<|channel|>commentary <|constrain|>json to=functions.now",
        "<|channel|>commentary functions.now json",
        "<|channel|>commentary to=now",
        " to=functions.now<|channel|>commentary json",
        " to=functions.now<|channel|>commentary <|constrain|>json",
        "to=functions.now",
        "<|start|>assistant to=functions.now<|channel|>commentary json",
        "<|start|>assistant<|channel|>commentary to=functions.now<|channel|>commentary json",
        "assistant to=functions.now <|constrain|>json",
        "\n<|channel|>commentary to=functions.now code",
    ],
)
def test_headers_of_calls(header: str) -> None:
    assert read(header + '<|message|>{"a": 1}') == ("", "", [Call("now", '{"a": 1}')])
    start = "" if "<|start|>" in header else "<|start|>" if "assistant" in header else f"{NEXT} "
    assert read(f"{ANALYSIS}Hm.<|end|>{start}{header}<|message|>{{}}<|call|>") == ("Hm.", "", [Call("now", "{}")])


@pytest.mark.parametrize(
    "header",
    [
        "<|channel|>final",
        "<|channel|>final <|constrain|>json",
        "<|channel|>final to=assistant",
        " to=user<|channel|>final",
        "<|channel|>commentary",
        "<|channel|>commentary to=all",
        "<|channel|>comment ary",
        "<|channel|> final ",
        "",
        "<|start|>assistant",
        "assistant",
        "assistant<|channel|>final",
    ],
)
def test_headers_of_content(header: str) -> None:
    assert read(f"{header}<|message|>Hi, you.\n") == ("", "Hi, you.\n", [])


@pytest.mark.parametrize(
    "text",
    [
        "<|channel|>commentary to=functions.launch <|constrain|>json<|message|>{}<|call|>",
        "<|channel|>commentary to=browser.open code<|message|>{}<|end|>",
        "<|start|>assistant to=functions.launch<|channel|>commentary json<|message|>{}",
        " to=python<|channel|>commentary code<|message|>print(1)",
    ],
)
def test_what_is_addressed_to_no_tool_stays_text(text: str) -> None:
    reasoning, content, calls = read(text)
    assert (reasoning, content.strip(), calls) == ("", text.strip(), [])
    follows = f"{NEXT}{FINAL}Done."
    ended = text if text.endswith("|>") else text + "<|end|>"
    assert read(ended + follows)[1].strip() == (ended + "Done.").strip()


def test_what_thoughts_are_addressed_to_no_tool_stays_reasoning() -> None:
    text = "<|channel|>analysis to=python code<|message|>print(1)<|call|>"
    assert read(f"{text}{NEXT}{FINAL}Done.") == (text, "Done.", [])


@pytest.mark.parametrize(
    "text",
    [
        "<|start|>user<|message|>And then?",
        "<|start|>junk and more<|message|>Hi",
        '<|start|>functions.now to=assistant<|channel|>commentary<|message|>"12:00"',
        "<|start|>",
        "<|start|>a <|message|>x<|start|>b <|message|>y",
        "<|channel|>a b c d<|message|>",
        "<|channel|><|message|>x",
        "<|channel|>" + "x" * MAX_HEADER + "<|message|>y",
        "<|start|>assistant" + " " * MAX_HEADER,
        " " * 2 * MAX_HEADER + "<",
        "to=now or never",
        "assistants",
        "assistant: no",
        "Hello.",
        "assist",
        "<|chan",
        "to=",
        " \n",
        "x" * 3000,
        "{} <|constrain|> <|message|> |> <",
    ],
)
def test_what_is_no_header_is_text(text: str) -> None:
    if text == "<|start|>":  # the beginning of one
        assert read(text) == ("", "", [])
    else:
        assert read(text) == ("", text, [])
    assert read(f"{ANALYSIS}Hm <|start|>no header<|end|>") == ("Hm <|start|>no header", "", [])


@pytest.mark.parametrize(
    "end",
    [
        NEXT,
        "<|start|>",
        "<|start|>assi",
        f"{NEXT}<|channel|>",
        f"{NEXT}<|channel|>fi",
        f"{NEXT}{FINAL[:-3]}",
        f"{NEXT} to=functions.now<|channel|>comm",
        f"{NEXT}{CALL[:30]}",
        "<|channel|>commentary to=",
        " to=functions.get_weat",
    ],
)
def test_a_header_that_is_cut_off_is_no_text(end: str) -> None:
    assert read(f"{ANALYSIS}Hm.<|end|>{end}") == ("Hm.", "", [])
    assert read(end) == ("", "", [])


def test_a_marker_within_a_message_is_text_where_no_header_follows() -> None:
    for text in (f"Write {FINAL[:-5]}", "Write <|start|>assistant", "Write <|channel|>analysis, then go on."):
        assert read(FINAL + text) == ("", text, [])
        assert read(f"{ANALYSIS}{text}<|end|>") == (text, "", [])


def test_no_more_is_held_back_than_a_header() -> None:
    for begin in ("<|channel|>", "<|start|>assistant ", "to=", "assistant", " "):
        parser = FAMILY.parser(TOOLS)
        events = (
            [event for _ in range(2000) for event in parser.push(begin[-1])] if begin == " " else parser.push(begin)
        )
        for _ in range(2 * MAX_HEADER):
            events += parser.push("x")
        assert content_of(events).endswith("x" * (MAX_HEADER + 1))
    parser = FAMILY.parser(TOOLS)
    assert content_of([event for _ in range(MAX_HEADER) for event in parser.push(" ")]) == " " * MAX_HEADER
    parser = FAMILY.parser(TOOLS)
    assert parser.push(CALL + "[") and parser.push("x" * 100) == []


def test_messages_without_an_end() -> None:
    assert read(f"{ANALYSIS}Hm.{NEXT}{FINAL}Hi.") == ("Hm.", "Hi.", [])
    assert read(f"{ANALYSIS}Hm.{FINAL}Hi.<|return|>") == ("Hm.", "Hi.", [])
    assert read(f"{ANALYSIS}Hm.<|end|>{FINAL}Hi.") == ("Hm.", "Hi.", [])
    assert read(f"{ANALYSIS}Hm.<|end|>Hi.") == ("Hm.", "Hi.", [])
    assert read(f"{FINAL}Hi.<|end|><|end|>\n{NEXT}{FINAL} Ho.<|return|>\n") == ("", "Hi. Ho.\n", [])


# ---- where the prompt ends


@pytest.mark.parametrize(
    ("prompt", "text", "expected"),
    [
        ("<|start|>user<|message|>Hi<|end|><|start|>assistant", f"{FINAL}a", ("", "a", [])),
        ("<|start|>user<|message|>Hi<|end|><|start|>assistant", "a", ("", "a", [])),
        (f"{NEXT}{ANALYSIS}", f"Hm.<|end|>{NEXT}{FINAL}a", ("Hm.", "a", [])),
        (f"{NEXT}{ANALYSIS}I ", "think", ("think", "", [])),
        (f"{NEXT}{FINAL}", "assistant", ("", "assistant", [])),
        (f"{NEXT}{FINAL}Once ", f"upon<|end|>{NEXT}{ANALYSIS}b", ("b", "upon", [])),
        (f"{NEXT}<|channel|>analysis", f"<|message|>Hm.<|end|>{NEXT}{FINAL}a", ("Hm.", "a", [])),
        (
            f"{NEXT}<|channel|>commentary",
            " to=functions.now <|constrain|>json<|message|>{}",
            ("", "", [Call("now", "{}")]),
        ),
        (f"{NEXT}{ANALYSIS}b<|end|>", f"{NEXT}{FINAL}a", ("", "a", [])),
    ],
)
def test_the_answer_goes_on_where_the_prompt_ends(
    prompt: str, text: str, expected: tuple[str, str, list[Call]]
) -> None:
    assert read(text, prompt) == expected


def test_reasoning_that_the_template_has_opened() -> None:
    assert FAMILY.parser_after(f"{NEXT}{ANALYSIS}", TOOLS).reasoning
    assert not FAMILY.parser_after(NEXT, TOOLS).reasoning


# ---- calls


def test_a_preamble_and_calls() -> None:
    text = (
        f"{ANALYSIS}Need the weather.<|end|>{NEXT}<|channel|>commentary<|message|>I look.<|end|>"
        f'{NEXT}{CALL}{{"city": "Zürich <|end|><|call|>"}}<|call|>'
        f"{NEXT} to=functions.now<|channel|>commentary json<|message|> <|call|>\n{NEXT}{FINAL}Ok."
    )
    calls = [Call("get_weather", '{"city": "Zürich <|end|><|call|>"}'), Call("now", "{}")]
    assert read(text) == ("Need the weather.", "I look.Ok.", calls)


def test_what_holds_for_every_family() -> None:
    shared.syntax_holds(FAMILY)
    shared.broken_holds(FAMILY)


def test_every_beginning_of_a_call() -> None:
    """No call is passed off as complete before its arguments are, and none is missed then."""
    begin = f"{ANALYSIS}Hm.<|end|>{NEXT}{CALL}"
    text = begin + shared.WEATHER
    for size in range(len(text) + 1):
        events = run(FAMILY.parser(TOOLS), [text[:size]])
        if size < len(begin):
            assert not calls_of(events)
        else:
            end = "complete" if size == len(text) else "unfinished"
            assert (reasoning_of(events), content_of(events)) == ("Hm.", "")
            assert calls_of(events) == [Call("get_weather", text[len(begin) : size], None, end)]


@pytest.mark.parametrize(
    ("arguments", "valid"),
    [("[1]", ""), ('"a"', ""), ("None", ""), ('{"a": nope}', '{"a": n'), ('{"a": <|call|>', '{"a": '), ("{,", "{")],
)
def test_what_is_no_object_breaks_the_call(arguments: str, valid: str) -> None:
    assert read(CALL + arguments) == ("", "", [Call("get_weather", valid, None, "broken")])


def test_a_call_without_arguments_that_ends_is_not_complete() -> None:
    """Whether the model has ended it cannot be seen: its last token is no text."""
    assert read(CALL) == ("", "", [Call("get_weather", "", None, "unfinished")])
    assert read(CALL + " <|ca") == ("", "", [Call("get_weather", "", None, "unfinished")])


def test_text_after_a_call_is_content() -> None:
    assert read(CALL + "{} and more<|call|>") == ("", "and more", [Call("get_weather", "{}")])
    assert read(CALL + "{}}\n<|call|> ") == ("", "}\n ", [Call("get_weather", "{}")])


# ---- anything

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda text: "<|" not in text)
MARKUP = [
    *sorted(FAMILY.special_tokens),
    *sorted(FAMILY.special_tokens),
    "assistant",
    "analysis",
    "final",
    "commentary",
    " to=functions.now",
    " to=",
    " json",
    "{",
    "}",
    '"',
    '{"a": "',
    " ",
    "<|",
    "user",
]


@given(texts, st.lists(shared.made_calls, max_size=1), texts, st.booleans(), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_anything_comes_back(
    thought: str, made: list[list[tuple[str, dict[str, object]]]], answer: str, ascii: bool, seed: int
) -> None:
    calls = [(name, json.dumps(value, ensure_ascii=ascii)) for each in made for name, value in each]
    text = f"{ANALYSIS}{thought}<|end|>"
    text += "".join(f"{NEXT}{FAMILY.call_begin(name)}{value}<|call|>" for name, value in calls)
    text += f"{NEXT}{FINAL}{answer}<|return|>"
    events = run(FAMILY.parser(TOOLS), random_pieces(text, random.Random(seed)))
    assert (reasoning_of(events), content_of(events)) == (thought, answer)
    assert [(call.name, call.arguments, call.end) for call in calls_of(events)] == [
        (*call, "complete") for call in calls
    ]


@given(st.lists(st.sampled_from(MARKUP) | texts, max_size=16).map("".join), st.integers(0, 2**32))
@settings(max_examples=400, deadline=None)
def test_garbage_is_read_alike_however_it_is_cut(text: str, seed: int) -> None:
    whole = run(FAMILY.parser(TOOLS), [text])
    assert run(FAMILY.parser(TOOLS), list(text)) == whole
    assert run(FAMILY.parser(TOOLS), random_pieces(text, random.Random(seed))) == whole


_WORD = r"\s*(?:<\|constrain\|>|<\|channel\|>|[^\s<]+(?![^\s<]))"
_ENDS = r"\s*<\|(?:end|call|return)\|>"
_HEADER = rf"\s*(?:<\|start\|>)?(?:{_WORD}){{0,9}}\s*<\|message\|>"
NO_TEXT = re.compile(rf"(?:{_ENDS}|{_HEADER})*")
_MARKUP_IN_IT = r"(?=.*(?:<\|(?:start|channel|constrain)\|>|to=functions\.))"
_CUT = rf"{_MARKUP_IN_IT}\s*(?:<\|start\|>)?(?:{_WORD}){{0,9}}\s*(?:<\|?[a-z]*\|?)?"
CUT_OFF = re.compile(rf"(?:{_ENDS}|{_HEADER})*(?:{_CUT})?", re.DOTALL)


@given(st.lists(st.sampled_from(MARKUP) | texts, max_size=16).map("".join))
@settings(max_examples=400, deadline=None)
def test_only_markup_is_dropped(text: str) -> None:
    events = run(FAMILY.parser([]), [text])  # without tools, all of it is text or markup
    at = 0
    for event in events:
        assert isinstance(event, Content | Reasoning)
        assert NO_TEXT.fullmatch(text, at, event.start), text[at : event.start]
        at = event.start + len(event.text)
    assert CUT_OFF.fullmatch(text, at), text[at:]


@pytest.mark.parametrize(
    "unit",
    [
        "<|start|>",
        "<|channel|>",
        "<|start|>assistant<|channel|>",
        "assistant ",
        " ",
        "<|",
        "<|end|>",
        "to=a ",
        "a<|end|>",
    ],
)
def test_long_answers(unit: str) -> None:
    """In time that grows with their length: a parser that looks back does not come to an end here."""
    text = unit * (200_000 // len(unit))
    whole = run(FAMILY.parser(TOOLS), [text])
    assert run(FAMILY.parser(TOOLS), [text[at : at + 7] for at in range(0, len(text), 7)]) == whole


def test_long_arguments() -> None:
    text = CALL + '{"a": "' + "<|end|> x" * 100_000 + '"}'
    pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
    (call,) = calls_of(run(FAMILY.parser(TOOLS), pieces))
    assert (call.arguments, call.end) == (text[len(CALL) :], "complete")
