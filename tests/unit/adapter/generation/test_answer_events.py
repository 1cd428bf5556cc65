"""Engine tokens in, events out: content, reasoning and calls, and how an answer ends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.errors import APIError
from adapter.generation.answer import Answer
from adapter.generation.answer_events import AnswerEvents, ParsedEvents, PlainEvents, Reading
from adapter.generation.events import (
    Event,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from adapter.parsing.chain import Chain
from adapter.parsing.hermes import Hermes
from adapter.parsing.thinking import ReasoningFormat
from adapter.parsing.tool_format import Tool
from tokentext import TextTokenizer

END = 5000  # outside the vocabulary: it has no text
TOOLS = [Tool("now"), Tool("run")]


def call(name: str = "now", arguments: str = '{"zone": "UTC"}') -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def thinking(**fields: object) -> Reading:
    parser = Chain(ReasoningFormat().parser(""), Hermes().parser(TOOLS))
    values = {"tool_format": Hermes(), "custom": frozenset({"run"}), "reasons": True, **fields}
    return Reading(parser, **values)  # type: ignore[arg-type]


@dataclass
class Outcome:
    """What a client sees of an answer, however it is cut."""

    content: str = ""
    reasoning: str = ""
    calls: list[list[object]] = field(default_factory=list)  # name, custom, text, complete
    logprobs: list[int] = field(default_factory=list)  # places of the tokens in the answer
    order: list[str] = field(default_factory=list)
    reason: str | None = None
    stopped: bool = False
    tokens: int = 0
    reasoning_tokens: int | None = None
    error: str | None = None

    def see(self, event: Event) -> None:
        kind = type(event).__name__
        if not self.order or self.order[-1] != kind:
            self.order.append(kind)
        if isinstance(event, TextDelta):
            assert event.text
            self.content += event.text
            self.logprobs += [int(-item.logprob) for item in event.logprobs or ()]
        elif isinstance(event, ReasoningDelta):
            assert event.text
            self.reasoning += event.text
        elif isinstance(event, ToolCallStart):
            assert event.index == len(self.calls) and event.id
            self.calls.append([event.name, event.custom, "", False])
        elif isinstance(event, ToolCallDelta):
            assert event.text and event.index == len(self.calls) - 1
            self.calls[-1][2] += event.text  # type: ignore[operator]
        elif isinstance(event, ToolCallEnd):
            assert event.index == len(self.calls) - 1
            self.calls[-1][3] = True


def play(
    tokenizer: TextTokenizer,
    steps: list[list[int]],
    reading: Reading | None,
    *,
    stop: tuple[str, ...] = (),
    max_tokens: int = 10_000,
    last: str = "stop",
) -> Outcome:
    """Hands an engine's steps over as `Generation` does; a log probability is its token's place."""
    answer = Answer(
        tokenizer, stop=stop if reading is None else (), end_ids=(END,), max_tokens=max_tokens, logprobs=True
    )
    events: AnswerEvents = PlainEvents(answer) if reading is None else ParsedEvents(answer, reading, stop)
    outcome = Outcome()
    place = 0
    try:
        for step in steps:
            values = [TokenLogprob(token, -float(place + index), []) for index, token in enumerate(step)]
            place += len(step)
            for event in events.push(step, values):
                outcome.see(event)
            if events.finish_reason is not None:
                break
        if events.finish_reason is None:
            for event in events.finish(last):
                outcome.see(event)
    except APIError as error:
        outcome.error = error.code
        return outcome
    outcome.reason, outcome.stopped = events.finish_reason, events.stopped
    outcome.tokens, outcome.reasoning_tokens = answer.completion_tokens, events.reasoning_tokens
    return outcome


def answered(tokenizer: TextTokenizer, text: str, reading: Reading | None = None, **more: object) -> Outcome:
    steps = [[token] for token in [*tokenizer.encode(text), END]]
    return play(tokenizer, steps, reading or thinking(), **more)  # type: ignore[arg-type]


def test_reasoning_content_and_a_call(tokenizer: TextTokenizer) -> None:
    outcome = answered(tokenizer, f"<think>\nHm.\n</think>\n\nLet me see.{call()}")
    assert (outcome.reasoning, outcome.content) == ("Hm.", "Let me see.")
    assert outcome.calls == [["now", False, '{"zone": "UTC"}', True]]
    assert outcome.order == ["ReasoningDelta", "TextDelta", "ToolCallStart", "ToolCallDelta", "ToolCallEnd"]
    assert (outcome.reason, outcome.stopped) == ("tool_calls", False)


@pytest.mark.parametrize(
    ("text", "last", "reason"),
    [("a", "stop", "stop"), ("a", "length", "length"), (call(), "stop", "tool_calls"), (call(), "length", "length")],
)
def test_the_finish_reason(tokenizer: TextTokenizer, text: str, last: str, reason: str) -> None:
    outcome = play(tokenizer, [tokenizer.encode(text)], thinking(), last=last)
    assert (outcome.reason, outcome.stopped) == (reason, False)


def test_the_length_ends_a_call_that_is_under_way(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode(call())
    outcome = play(tokenizer, [ids], thinking(), max_tokens=len(tokenizer.encode(call()[:50])))
    assert outcome.reason == "length" and outcome.error is None
    assert [one[3] for one in outcome.calls] == [False]


@pytest.mark.parametrize(
    "text",
    [call()[:50], call(arguments='{"zone": UTC}'), call("run", "{}"), call("run", '{"input": 5}'), call("run")[:46]],
)
def test_a_call_that_is_none(tokenizer: TextTokenizer, text: str) -> None:
    events = ParsedEvents(Answer(tokenizer, stop=(), end_ids=(END,), max_tokens=10_000, logprobs=False), thinking(), ())
    with pytest.raises(APIError) as caught:
        events.push([*tokenizer.encode(text), END], None)
    assert (caught.value.status, caught.value.code) == (502, "invalid_tool_call")


def test_a_custom_tool(tokenizer: TextTokenizer) -> None:
    text = 'print("😀\n")'
    for ascii in (True, False):
        outcome = answered(tokenizer, call("run", json.dumps({"input": text}, ensure_ascii=ascii)) + call())
        assert outcome.calls == [["run", True, text, True], ["now", False, '{"zone": "UTC"}', True]]


@pytest.mark.parametrize("most", [1, 2])
def test_the_most_calls_end_the_answer(tokenizer: TextTokenizer, most: int) -> None:
    before = "\n".join([call()] * most)
    outcome = answered(tokenizer, before + "\n" + call() + "after", thinking(most_calls=most))
    assert len(outcome.calls) == most and outcome.content.strip() == ""
    assert (outcome.reason, outcome.stopped) == ("tool_calls", True)


def test_stop_strings_count_in_content_only(tokenizer: TextTokenizer) -> None:
    outcome = answered(tokenizer, "<think>a#b</think>c" + call(arguments='{"zone": "#"}'), stop=("#",))
    assert (outcome.reasoning, outcome.content, outcome.reason) == ("a#b", "c", "tool_calls")
    assert outcome.calls == [["now", False, '{"zone": "#"}', True]] and not outcome.stopped
    outcome = answered(tokenizer, "<think>a</think>c#d" + call(), stop=("#",))
    assert (outcome.content, outcome.calls, outcome.reason, outcome.stopped) == ("c", [], "stop", True)


def test_a_part_of_a_stop_string_is_shown_at_the_end(tokenizer: TextTokenizer) -> None:
    outcome = answered(tokenizer, "<think>a</think>bEN", stop=("END",))
    assert (outcome.content, outcome.reason, outcome.stopped) == ("bEN", "stop", False)


def test_log_probabilities_are_those_of_content(tokenizer: TextTokenizer) -> None:
    parts = ["<think>", "why", "</think>", "Yes, 日本", call()]
    ids = [tokenizer.encode(part) for part in parts]
    outcome = play(tokenizer, [[token] for part in ids for token in part], thinking())
    first = sum(map(len, ids[:3]))
    assert outcome.content == "Yes, 日本"
    assert outcome.logprobs == list(range(first, first + len(ids[3])))


def test_reasoning_tokens(tokenizer: TextTokenizer) -> None:
    tags = [tokenizer.encode("<think>"), tokenizer.encode("why"), tokenizer.encode("</think>")]
    ids = [token for part in tags for token in part]
    outcome = play(tokenizer, [[*ids, *tokenizer.encode("Yes")]], thinking())
    # The token that completes the opening tag begins the reasoning, the one that completes the closing tag ends it.
    assert outcome.reasoning_tokens == 1 + len(tags[1]) + len(tags[2])
    assert answered(tokenizer, "Yes").reasoning_tokens == 0
    assert answered(tokenizer, "Yes", Reading(Hermes().parser(TOOLS), Hermes())).reasoning_tokens is None


def test_plain_text_is_content(tokenizer: TextTokenizer) -> None:
    text = f"<think>a</think>{call()}#b"
    steps = [[token] for token in tokenizer.encode(text)]
    outcome = play(tokenizer, steps, None, stop=("#",))
    assert outcome.content == text[:-2] and outcome.calls == []
    assert (outcome.reason, outcome.stopped, outcome.reasoning_tokens) == ("stop", True, None)


PIECES = [
    "<think>",
    "</think>",
    call(),
    call("run", '{"input": "é😀#"}'),
    call()[:40],
    "#",
    "a",
    "EN",
    "D",
    "日本",
    "\n",
]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=7).map("".join),
    st.lists(st.integers(1, 200), max_size=6),
    st.booleans(),
    st.sampled_from([(), ("#",), ("END", "a#")]),
    st.sampled_from([None, 1, 2]),
    st.integers(1, 300),
)
def test_how_the_tokens_are_cut_makes_no_difference(
    tokenizer: TextTokenizer,
    text: str,
    cuts: list[int],
    ended: bool,
    stop: tuple[str, ...],
    most: int | None,
    max_tokens: int,
) -> None:
    ids = tokenizer.encode(text) + ([END] if ended else [])
    edges = sorted({0, len(ids), *(cut for cut in cuts if cut < len(ids))})
    outcomes = [
        play(tokenizer, steps, thinking(most_calls=most), stop=stop, max_tokens=max_tokens)
        for steps in ([[token] for token in ids], [ids[start:end] for start, end in pairwise(edges)])
    ]
    if outcomes[0].error is not None:  # what came before the error may or may not have been handed out
        assert outcomes[1].error == outcomes[0].error
        return
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].tokens <= max_tokens
    assert all(string not in outcomes[0].content for string in stop)
    assert all(complete for *_, complete in outcomes[0].calls[:-1])
