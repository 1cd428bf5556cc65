"""Reasoning first, then calls: places are those of the whole text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.parsing.chain import Chain
from adapter.parsing.hermes import Hermes
from adapter.parsing.parsed import CallArguments, CallEnd, CallStart, Content, Reasoning
from adapter.parsing.thinking import ReasoningFormat
from adapter.parsing.tool_format import Tool
from tests.unit.adapter.parsing.splits import Call, calls_of, content_of, parse, reasoning_of, run

TOOLS = [Tool("now")]
CALL = '<tool_call>\n{"name": "now", "arguments": {"zone": "UTC"}}\n</tool_call>'
ARGUMENTS = '{"zone": "UTC"}'


def chain(prompt: str = "<assistant>") -> Chain:
    return Chain(ReasoningFormat().parser(prompt), Hermes().parser(TOOLS))


def test_a_call_after_reasoning() -> None:
    text = f"<think>\nWhich hour?\n</think>\n\nLet me see.\n{CALL}"
    assert parse(chain, text) == [
        Reasoning("Which hour?", 8),
        Content("Let me see.\n", text.index("Let")),
        CallStart("now"),
        CallArguments(ARGUMENTS),
        CallEnd(),
    ]


def test_a_call_within_reasoning_is_reasoning() -> None:
    text = f"<think>I could write {CALL} here.</think>No."
    assert parse(chain, text) == [
        Reasoning(f"I could write {CALL} here.", 7),
        Content("No.", text.index("No.")),
    ]


def test_reasoning_tags_after_it_are_content() -> None:
    events = parse(chain, f"<think>a</think>b <think>c</think>{CALL}")
    assert (reasoning_of(events), content_of(events)) == ("a", "b <think>c</think>")
    assert calls_of(events) == [Call("now", ARGUMENTS)]


def test_an_opened_and_a_closed_prompt() -> None:
    text = f"a</think>{CALL}"
    opened = parse(lambda: chain("<think>"), text)
    assert (reasoning_of(opened), calls_of(opened)) == ("a", [Call("now", ARGUMENTS)])
    closed = parse(lambda: chain("<think></think>"), text)
    assert (content_of(closed), calls_of(closed)) == ("a</think>", [Call("now", ARGUMENTS)])


def test_what_the_second_held_back_keeps_its_place() -> None:
    text = "<think>a</think>\n\nb <tool_ca"
    assert parse(chain, text) == [Reasoning("a", 7), Content("b <tool_ca", text.index("b"))]


def test_an_unfinished_call() -> None:
    events = parse(chain, f"<think>a</think>{CALL[:45]}")
    assert [call.end for call in calls_of(events)] == ["unfinished"]


def test_a_text_of_the_second_that_stands_in_two_places() -> None:
    """The first parser drops text between two pieces that the second holds together."""

    class Gaps:
        """Drops every `|`."""

        reasoning = False

        def __init__(self) -> None:
            self._at = 0

        def push(self, text: str) -> list[Content]:
            result = []
            for char in text:
                if char != "|":
                    result.append(Content(char, self._at))
                self._at += 1
            return result

        def finish(self) -> list[Content]:
            return []

    def make() -> Chain:
        return Chain(Gaps(), Hermes().parser(TOOLS))

    assert parse(make, "x<to|ol_|x") == [Content("x<to", 0), Content("ol_", 5), Content("x", 9)]


def test_whether_it_reasons_at_the_moment() -> None:
    parser = chain()
    seen = []
    for piece in ("<think>", "a", "</think>", CALL):
        parser.push(piece)
        seen.append(parser.reasoning)
    assert seen == [True, True, False, False]


PIECES = ["<think>", "</think>", CALL, "<tool_call>", "</tool_call>", '{"name": "now", ', "a", "\n", "é😀", "<", "{"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8), st.sampled_from(["", "<think>"]))
def test_any_cut_gives_the_same(pieces: list[str], prompt: str) -> None:
    assert run(chain(prompt), pieces) == parse(lambda: chain(prompt), "".join(pieces))
