"""Whatever the model does and however it ends: the response object is the fold of its events, and all are valid."""

from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.encoding.response_writer import ResponseWriter
from adapter.encoding.wire_event import WireEvent
from adapter.generation.events import (
    Event,
    Finish,
    PromptLogprobs,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from tests.support.response_fold import fold
from tests.support.response_models import check_response
from tests.unit.adapter.encoding.response_clients import CALLS, PROMPT, Client, call, new_writer, served
from tokentext import TextTokenizer

NASTY = ['"}\\', "%d %s %%", "\x00\x1f\n\r", "\u2028\ufeff", "😀日本", "data: [DONE]\n\n", '","delta":"', ""]

texts = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
token_logprobs = st.builds(
    TokenLogprob, st.integers(0, 320), st.floats(-30, 0), st.lists(st.tuples(st.integers(0, 320), st.floats(-30, 0)))
)


@st.composite
def turns(draw: st.DrawFn) -> list[Event]:
    """What one turn of the model may be: pieces of every kind, and an end, or a cut within a call."""
    events: list[Event] = [PromptLogprobs([])] if draw(st.booleans()) else []
    done, calls = 0, 0
    logprobs = st.none() | st.lists(token_logprobs, max_size=2)
    for kind in draw(st.lists(st.sampled_from(["text", "reasoning", "call"]), max_size=5)):
        pieces = draw(st.lists(texts, max_size=3))
        done += len(pieces) + 1
        if kind == "text":
            events += [TextDelta(piece, done, draw(logprobs)) for piece in pieces]
        elif kind == "reasoning":
            events += [ReasoningDelta(piece, done) for piece in pieces]
        else:
            events += call(draw(st.sampled_from([*CALLS, "unlisted"])), *pieces, index=calls)
            calls += 1
    reason = draw(st.sampled_from(["stop", "length"]))
    if reason == "length" and events and isinstance(events[-1], ToolCallEnd):
        del events[-draw(st.integers(1, 2)) :]
        calls -= not isinstance(events[-1] if events else None, ToolCallStart | ToolCallDelta)
    if reason == "stop" and calls:
        reason = "tool_calls"
    cached = draw(st.none() | st.integers(0, PROMPT))
    events.append(Finish(reason, PROMPT, done + 1, cached, draw(st.none() | st.just(1))))
    return events


ENDS: dict[str, Callable[[ResponseWriter], list[WireEvent]]] = {
    "complete": lambda writer: writer.complete(),
    "incomplete": lambda writer: writer.incomplete("max_output_tokens"),
    "fail": lambda writer: writer.fail("triton_unavailable", "Triton is gone."),
    "cancel": lambda writer: writer.cancel(),
}


@given(
    st.lists(turns(), max_size=4),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, lambda text: f"sealed {len(text)}"]),
    st.sampled_from(list(ENDS)),
    st.integers(0, 60),
)
@settings(max_examples=300, deadline=None)
def test_the_object_is_the_fold_of_the_events_at_every_moment_and_at_every_end(
    tokenizer: TextTokenizer,
    scripts: list[list[Event]],
    queued: bool,
    logprobs: bool,
    obfuscation: bool,
    seal: Callable[[str], str] | None,
    end: str,
    broken_off: int,
) -> None:
    client = Client(new_writer(tokenizer, logprobs=logprobs, obfuscation=obfuscation, seal=seal))
    writer = client.writer
    writer.citations = lambda text: [
        {"type": "file_citation", "file_id": "file-1", "filename": "a.md", "index": len(text)},
        {"type": "url_citation", "url": "http://a.test", "title": "a", "start_index": 0, "end_index": len(text)},
    ]
    if queued:
        client.take(writer.queued())
    client.take(writer.started())
    for script in scripts:
        writer.begin_turn(PROMPT)
        for event in script:
            broken_off -= 1
            if not broken_off:
                break
            client.take(writer.encode(event))
        if broken_off <= 0 or writer.incomplete_reason is not None:
            break
        pending = writer.end_turn()
        assert len(pending) == sum(isinstance(event, ToolCallEnd) for event in script)
        for one in pending:
            served(client, one)
    if writer.incomplete_reason is not None:
        end = "incomplete"
    client.take(ENDS[end](writer))

    assert fold(client.events) == writer.body
    assert json.loads(json.dumps(writer.body)) == writer.body
    check_response(writer.body)
    shown = [event for event in client.events if event["type"].endswith(".delta")]
    assert all(("obfuscation" in event) is obfuscation for event in shown)
    assert logprobs or not any(event.get("logprobs") for event in client.events)
