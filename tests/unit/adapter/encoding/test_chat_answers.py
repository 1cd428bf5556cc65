"""Reasoning, calls and several choices: the chunks of a chat completion add up to the completion."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapter.encoding.chat_chunks import ChatChunkEncoder
from adapter.encoding.chat_completion import ChatCompletionFold
from adapter.encoding.chat_form import ChatForm
from adapter.generation.events import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from adapter.settings import StreamUsage
from adapter.triton.model import ServedModel
from tests.unit.adapter.encoding.test_chat_encoding import (
    CREATED,
    PROMPT,
    fold,
    parse,
    stream,
    strictly,
    texts,
    token_logprobs,
)
from tests.unit.adapter.served import served_model
from tokentext import TextTokenizer

shown = texts.filter(bool)  # an event has text


@st.composite
def full_answers(draw: st.DrawFn, form: ChatForm, reasons: bool, cached: bool) -> list[Event]:
    """Reasoning, content and calls of one choice, in the order in which models write them."""
    done = 0

    def count() -> int:
        nonlocal done
        done += draw(st.integers(0, 3))
        return done

    logprobs = st.lists(token_logprobs, max_size=2) if form.logprobs else st.none()
    events: list[Event] = []
    for text in draw(st.lists(shown, max_size=3)) if reasons else ():
        events.append(ReasoningDelta(text, count()))
    for text in draw(st.lists(shown, max_size=3)):
        events.append(TextDelta(text, count(), draw(logprobs)))
    calls = draw(st.integers(0, 1 if form.legacy_function else 3))
    for index in range(calls):
        custom = not form.legacy_function and draw(st.booleans())
        events.append(ToolCallStart(index, f"call_{draw(st.integers(0, 9))}", draw(shown), custom, count()))
        events += [ToolCallDelta(index, text, count()) for text in draw(st.lists(shown, max_size=3))]
        events.append(ToolCallEnd(index))
    reason = draw(st.sampled_from(["length", "tool_calls" if calls else "stop"]))
    count()
    of_prompt = draw(st.integers(0, PROMPT)) if cached else None
    return [*events, Finish(reason, PROMPT, done, of_prompt, draw(st.integers(0, done)) if reasons else None)]


@st.composite
def requests(draw: st.DrawFn) -> tuple[ChatForm, list[list[Event]], list[int]]:
    """A form, the events of each choice, and in which order the choices' events come."""
    form = ChatForm(
        logprobs=draw(st.booleans()),
        legacy_function=draw(st.booleans()),
        reasoning_field=draw(st.sampled_from(["reasoning_content", "reasoning"])),
        service_tier=draw(st.none() | st.just("default")),
    )
    reasons, cached = draw(st.booleans()), draw(st.booleans())
    choices = [draw(full_answers(form, reasons, cached)) for _ in range(draw(st.integers(1, 3)))]
    order = draw(st.permutations([index for index, events in enumerate(choices) for _ in events]))
    return form, choices, order


def gather(chunks: list[dict[str, Any]], form: ChatForm, count: int) -> list[dict[str, Any]]:
    """The choices as a client puts them together from the chunks: deltas added up, by index."""
    choices = [
        {"index": index, "message": {"content": ""}, "logprobs": None, "finish_reason": None} for index in range(count)
    ]
    for chunk in deepcopy(chunks):
        for piece in chunk["choices"]:
            choice = choices[piece["index"]]
            assert choice["finish_reason"] is None, "a chunk after the end"
            choice["finish_reason"] = piece["finish_reason"]
            message, delta = choice["message"], dict(piece["delta"])
            calls = delta.pop("tool_calls", [])
            for key in ("role", "refusal"):
                if key in delta:
                    assert key not in message
                    message[key] = delta.pop(key)
            call = delta.pop("function_call", None)
            if call is not None and "function_call" not in message:
                message["function_call"] = {"name": call["name"], "arguments": ""}
            if call is not None:
                message["function_call"]["arguments"] += call["arguments"]
            for call in calls:
                index = call.pop("index")
                so_far = message.setdefault("tool_calls", [])
                if index == len(so_far):
                    so_far.append(call)
                    continue
                assert index == len(so_far) - 1 and len(call) == 1
                ((kind, fields),) = call.items()
                ((key, text),) = fields.items()
                so_far[index][kind][key] += text
            for key, text in delta.items():
                assert key in ("content", form.reasoning_field)
                message[key] = message.get(key, "") + text
            if piece["logprobs"] is not None:
                choice["logprobs"] = choice["logprobs"] or {"content": [], "refusal": None}
                choice["logprobs"]["content"] += piece["logprobs"]["content"]
    return choices


@given(requests(), st.sampled_from(list(StreamUsage)), st.booleans())
@settings(max_examples=300, deadline=None)
def test_reasoning_calls_and_choices_fold_to_the_completion(
    tokenizer: TextTokenizer,
    request: tuple[ChatForm, list[list[Event]], list[int]],
    usage: StreamUsage,
    obfuscation: bool,
) -> None:
    form, choices, order = request
    model = served_model(tokenizer)
    count = len(choices)
    encoder = ChatChunkEncoder(model, "chatcmpl-1", CREATED, usage, form, choices=count, obfuscation=obfuscation)
    folded = ChatCompletionFold(model, "chatcmpl-1", CREATED, form, choices=count)
    left = [list(events) for events in choices]
    body = encoder.start(PROMPT)
    for index in order:
        event = left[index].pop(0)
        body += encoder.encode(index, event)
        folded.add(index, event)
    chunks = parse(body + encoder.end())
    completion = json.loads(folded.body(PROMPT))

    expected = completion["choices"]
    for choice in expected:
        message = choice["message"]
        assert message.pop("annotations") == []
        assert (message["content"] is None) is (
            not any(isinstance(event, TextDelta) for event in choices[choice["index"]])
            and any(isinstance(event, ToolCallStart) for event in choices[choice["index"]])
        )
        message["content"] = message["content"] or ""
        if choice["logprobs"] == {"content": [], "refusal": None}:
            choice["logprobs"] = None  # a stream without text has no place for the empty list
    got = gather(chunks, form, count)
    for choice in got:
        if choice["logprobs"] == {"content": [], "refusal": None}:
            choice["logprobs"] = None
    assert got == expected

    envelope = {key: value for key, value in completion.items() if key not in ("object", "choices", "usage")}
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        assert {key: chunk[key] for key in envelope} == envelope
        assert set(chunk) - set(envelope) <= {"object", "choices", "usage", "obfuscation"}
        assert ("obfuscation" in chunk) is (obfuscation and bool(chunk["choices"]))
        assert ("usage" in chunk) is (usage is not StreamUsage.NONE)
        if obfuscation and chunk["choices"]:
            size = len(orjson.dumps(chunk["choices"])) + len(chunk["obfuscation"])
            assert size % 32 == 0 and chunk["obfuscation"]
    if usage is not StreamUsage.NONE:
        assert chunks[-1]["usage"] == completion["usage"]
    if usage is StreamUsage.FINAL:
        assert chunks[-1]["choices"] == [] and all(chunk["usage"] is None for chunk in chunks[:-1])
    if usage is StreamUsage.CONTINUOUS:
        counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
        assert counts == sorted(counts)
    finishes = [events[-1] for events in choices]
    assert completion["usage"]["completion_tokens"] == sum(finish.completion_tokens for finish in finishes)
    assert completion["usage"]["prompt_tokens"] == PROMPT


def test_calls_are_in_openais_form(model: ServedModel) -> None:
    events: list[Event] = [
        ReasoningDelta("Hm", 1),
        ToolCallStart(0, "call_a", "now", False, 2),
        ToolCallDelta(0, '{"a":', 3),
        ToolCallDelta(0, "1}", 4),
        ToolCallEnd(0),
        ToolCallStart(1, "call_b", "run", True, 5),
        ToolCallDelta(1, "ls", 6),
        ToolCallEnd(1),
        Finish("tool_calls", PROMPT, 7, None, 1),
    ]
    completion = fold(model, events)
    message = completion["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": [],
        "reasoning_content": "Hm",
        "tool_calls": [
            {"id": "call_a", "type": "function", "function": {"name": "now", "arguments": '{"a":1}'}},
            {"id": "call_b", "type": "custom", "custom": {"name": "run", "input": "ls"}},
        ],
    }
    assert completion["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1}
    del message["reasoning_content"]  # not OpenAI's
    strictly(ChatCompletion, completion)
    deltas = [chunk["choices"][0]["delta"] for chunk in parse(stream(model, events, StreamUsage.NONE))]
    assert deltas[1:] == [
        {"reasoning_content": "Hm"},
        {
            "tool_calls": [
                {"index": 0, "id": "call_a", "type": "function", "function": {"name": "now", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
        {"tool_calls": [{"index": 1, "id": "call_b", "type": "custom", "custom": {"name": "run", "input": ""}}]},
        {"tool_calls": [{"index": 1, "custom": {"input": "ls"}}]},
        {},
    ]


def test_a_function_call_of_the_older_form(model: ServedModel) -> None:
    form = ChatForm(legacy_function=True)
    events: list[Event] = [
        ToolCallStart(0, "call_a", "now", False, 1),
        ToolCallDelta(0, "{}", 2),
        ToolCallEnd(0),
        Finish("tool_calls", PROMPT, 3),
    ]
    folded = ChatCompletionFold(model, "chatcmpl-1", CREATED, form)
    encoder = ChatChunkEncoder(model, "chatcmpl-1", CREATED, StreamUsage.NONE, form)
    body = encoder.start(PROMPT)
    for event in events:
        folded.add(0, event)
        body += encoder.encode(0, event)
    choice = strictly(ChatCompletion, json.loads(folded.body(PROMPT))).choices[0]
    assert choice.finish_reason == "function_call" and choice.message.tool_calls is None
    assert (choice.message.function_call.name, choice.message.function_call.arguments) == ("now", "{}")
    chunks = [strictly(ChatCompletionChunk, chunk).choices[0] for chunk in parse(body + encoder.end())]
    assert [chunk.finish_reason for chunk in chunks] == [None, None, None, "function_call"]
    assert "".join(chunk.delta.function_call.arguments for chunk in chunks[1:3]) == "{}"
    assert chunks[1].delta.function_call.name == "now"
