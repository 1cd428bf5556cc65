"""Reasoning and content told apart, wherever the text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.parsing.parsed import Content, Parsed, Reasoning
from adapter.parsing.thinking import REASONING_FORMATS, ReasoningFormat
from tests.unit.adapter.parsing.splits import content_of, parse, reasoning_of, run

THINK = ReasoningFormat()
OPTIONAL = ReasoningFormat(begin_optional=True)
MISTRAL = REASONING_FORMATS["mistral"]
GRANITE = REASONING_FORMATS["granite"]
ASKED = (
    "Write between <think></think> and <response></response>, after 'Here is my thought process:'." + "<|assistant|>"
)
GRANITE_3_3 = REASONING_FORMATS["granite3_3"]
ABSENT, OPENED, CLOSED = "<|user|>Hi<|assistant|>", "<|assistant|><think>\n", "<|assistant|><think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("tags", "prompt", "text", "expected"),
    [
        (THINK, ABSENT, "<think>\nHm.\n</think>\n\nYes", [Reasoning("Hm.", 8), Content("Yes", 22)]),
        (THINK, ABSENT, " \n<think>a</think>b", [Reasoning("a", 9), Content("b", 18)]),
        (THINK, ABSENT, "Plain </think> text", [Content("Plain </think> text", 0)]),
        (THINK, ABSENT, "\n Plain", [Content("\n Plain", 0)]),
        (THINK, ABSENT, "a<think>b</think>c", [Content("a<think>b</think>c", 0)]),
        (THINK, ABSENT, "<thin", [Content("<thin", 0)]),
        (THINK, ABSENT, "<thinking>x", [Content("<thinking>x", 0)]),
        (THINK, ABSENT, "<think>", []),
        (THINK, ABSENT, "<think></think>", []),
        (THINK, ABSENT, "<think>\n\n</think>\n\nNo", [Content("No", 19)]),
        (THINK, ABSENT, "<think>never ends</thin", [Reasoning("never ends</thin", 7)]),
        (THINK, ABSENT, "<think>a</thin</think>b", [Reasoning("a</thin", 7), Content("b", 22)]),
        (THINK, ABSENT, "<think>a\n\nb\n</think>c", [Reasoning("a\n\nb", 7), Content("c", 20)]),
        (THINK, ABSENT, "<think>a</think>b</think><think>c", [Reasoning("a", 7), Content("b</think><think>c", 16)]),
        (THINK, ABSENT, "<think>a<think>b</think>c", [Reasoning("a<think>b", 7), Content("c", 24)]),
        (THINK, OPENED, "Hm\n</think>\nYes", [Reasoning("Hm", 0), Content("Yes", 12)]),
        (THINK, OPENED, "<think>Hm</think>Yes", [Reasoning("Hm", 7), Content("Yes", 17)]),
        (THINK, OPENED, "Hm", [Reasoning("Hm", 0)]),
        (THINK, OPENED, "</think>Yes", [Content("Yes", 8)]),
        (THINK, CLOSED, "<think>Hm</think>Yes", [Content("<think>Hm</think>Yes", 0)]),
        (THINK, CLOSED, "\nYes", [Content("\nYes", 0)]),
        (OPTIONAL, ABSENT, "Hm</think>Yes", [Reasoning("Hm", 0), Content("Yes", 10)]),
        (OPTIONAL, ABSENT, "<think>Hm</think>Yes", [Reasoning("Hm", 7), Content("Yes", 17)]),
        (OPTIONAL, ABSENT, "no tag at all", [Reasoning("no tag at all", 0)]),
        (OPTIONAL, CLOSED, "Yes", [Content("Yes", 0)]),
        (MISTRAL, ABSENT, "[THINK]Hm <think>[/THINK]Yes", [Reasoning("Hm <think>", 7), Content("Yes", 25)]),
        (MISTRAL, "[INST]Hi[/INST][THINK]", "Hm[/THINK]Yes", [Reasoning("Hm", 0), Content("Yes", 10)]),
        (THINK, ABSENT, "", []),
        (
            GRANITE,
            ASKED,
            "Here is my thought process:\n\nHm. Here is\n\nHere is my response: Yes",
            [Reasoning("Hm. Here is", 29), Content("Yes", 63)],
        ),
        (GRANITE, ASKED, "Here is my answer", [Content("Here is my answer", 0)]),
        (
            GRANITE_3_3,
            ASKED,
            "<think>Hm\n</think>\n<response>\nA <b> \n</b>\n</response>\n",
            [Reasoning("Hm", 7), Content("A <b> \n</b>", 30)],
        ),
        (GRANITE_3_3, ASKED, "<think>a</think><respond>b", [Reasoning("a", 7), Content("<respond>b", 16)]),
        (GRANITE_3_3, ASKED, "<think>a</think>b</response>", [Reasoning("a", 7), Content("b</response>", 16)]),
        (
            GRANITE_3_3,
            ASKED,
            "<think>a</think><response>b</response>c",
            [Reasoning("a", 7), Content("b", 26), Content("c", 38)],
        ),
        (GRANITE_3_3, ASKED, "<think>a</think><respo", [Reasoning("a", 7), Content("<respo", 16)]),
        (GRANITE_3_3, ASKED, "<response>a</response>", [Content("<response>a</response>", 0)]),
        (GRANITE, ABSENT, "Here is my thought process: a", [Content("Here is my thought process: a", 0)]),
        (GRANITE_3_3, ABSENT, "<think>a</think>b", [Content("<think>a</think>b", 0)]),
    ],
)
def test_samples(tags: ReasoningFormat, prompt: str, text: str, expected: list[Parsed]) -> None:
    assert parse(lambda: tags.parser(prompt), text) == expected


def test_what_the_prompt_ends_with() -> None:
    assert THINK.begins_inside(OPENED) and not THINK.closed_by(OPENED)
    assert THINK.closed_by(CLOSED) and not THINK.begins_inside(CLOSED)
    assert not THINK.begins_inside(ABSENT) and not THINK.closed_by(ABSENT)
    assert not THINK.begins_inside("a user's <think> in the middle" + ABSENT)
    assert MISTRAL.special_tokens == {"[THINK]", "[/THINK]"}


def test_whether_it_reasons_at_the_moment() -> None:
    parser = THINK.parser(ABSENT)
    seen = [parser.reasoning]
    for piece in ("<thi", "nk>", "a", "</thi", "nk>", "b"):
        parser.push(piece)
        seen.append(parser.reasoning)
    assert seen == [False, False, True, True, True, False, False]
    assert THINK.parser(OPENED).reasoning and OPTIONAL.parser(ABSENT).reasoning
    assert not THINK.parser(CLOSED).reasoning and not OPTIONAL.parser(CLOSED).reasoning


def test_text_is_held_back_only_while_it_may_be_a_tag() -> None:
    parser = THINK.parser(OPENED)
    assert parser.push("a<") == [Reasoning("a", 0)]
    assert parser.push("b") == [Reasoning("<b", 1)]
    assert parser.push("</think>") == []
    assert parser.push("c<") == [Content("c<", 11)]


PIECES = ["<think>", "</think>", "<", "</", "think>", "\n", " ", "a", "é😀", "<thi"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=10),
    st.sampled_from([THINK, OPTIONAL]),
    st.sampled_from([ABSENT, OPENED, CLOSED]),
)
def test_any_cut_gives_the_same(pieces: list[str], tags: ReasoningFormat, prompt: str) -> None:
    text = "".join(pieces)
    events = parse(lambda: tags.parser(prompt), text)
    assert run(tags.parser(prompt), pieces) == events
    # Nothing but tags and white space around them is lost.
    shown = reasoning_of(events) + content_of(events)
    left = len("".join(text.split())) - len("".join(shown.split()))
    assert left in {0, len("<think>"), len("</think>"), len("<think></think>")}
    if prompt == CLOSED:
        assert content_of(events) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*PIECES, "<response>", "</response>", "<resp", "</respo"]), max_size=10))
def test_any_cut_gives_the_same_with_tags_around_the_answer(pieces: list[str]) -> None:
    text = "<think>" + "".join(pieces)
    events = parse(lambda: GRANITE_3_3.parser(ASKED), text)
    shown = reasoning_of(events) + content_of(events)
    lost = len("".join(text.split())) - len("".join(shown.split()))
    tags = [len("<think>"), len("</think>"), len("<response>"), len("</response>")]
    assert lost in {sum(tags[:count]) for count in range(1, 5)}


@settings(max_examples=100, deadline=None)
@given(
    st.text(st.characters(exclude_characters="<\n", exclude_categories=["Cs"])),
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])),
)
def test_what_is_written_is_read(thought: str, answer: str) -> None:
    events = parse(lambda: THINK.parser(ABSENT), f"<think>\n{thought}\n</think>\n\n{answer}")
    assert (reasoning_of(events), content_of(events)) == (thought, answer)
