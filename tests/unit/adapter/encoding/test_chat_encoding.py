"""Chunks and the completion: two forms of the same events, checked with the SDK's own types."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from adapter.encoding.chat_chunks import ChatChunkEncoder
from adapter.encoding.chat_completion import ChatCompletionFold
from adapter.encoding.chat_form import ChatForm
from adapter.encoding.event_stream import error_event
from adapter.encoding.logprobs import logprobs_content
from adapter.encoding.usage import total_usage
from adapter.errors import APIError
from adapter.generation.events import Event, Finish, TextDelta, TokenLogprob
from adapter.settings import StreamUsage
from adapter.triton.model import ServedModel
from tests.unit.adapter.served import served_model
from tokentext import TextTokenizer

CREATED = 1700000000
PROMPT = 11
CUT = "\x00cut\x00"  # what the encoder itself cuts its envelope at
NASTY = [
    'quote " and backslash \\ and \\" both',
    "%d %s %% {} {0} ${x}",
    "\x00 and \x1f, tab\t, line\nend\r",
    "\u2028\u2029\ufeff\ufffd",
    "emoji 😀 \U0010ffff é 日本",
    CUT,
    'x"\x00cut\x00"x',
    "data: [DONE]\n\n",
    '{"cut":"\\u0000cut\\u0000"}',
    "",
]


def parse(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream, up to [DONE]."""
    *events, done, rest = body.decode().split("\n\n")
    assert done == "data: [DONE]" and rest == ""
    for event in events:
        assert event.startswith("data: ") and "\n" not in event
    return [json.loads(event.removeprefix("data: ")) for event in events]


def stream(model: ServedModel, events: list[Event], usage: StreamUsage) -> bytes:
    encoder = ChatChunkEncoder(model, "chatcmpl-1", CREATED, usage, ChatForm())
    return encoder.start(PROMPT) + b"".join(encoder.encode(0, event) for event in events) + encoder.end()


def fold(model: ServedModel, events: list[Event], *, logprobs: bool = False) -> dict[str, Any]:
    folded = ChatCompletionFold(model, "chatcmpl-1", CREATED, ChatForm(logprobs=logprobs))
    for event in events:
        folded.add(0, event)
    body: dict[str, Any] = json.loads(folded.body(PROMPT))
    return body


def strictly(kind: type[BaseModel], value: Any) -> Any:
    """The SDK's type, without its leniency: types have to be right, and every field has to be one it knows."""
    parsed = kind.model_validate_json(json.dumps(value), strict=True)

    def known(item: Any) -> None:
        if isinstance(item, BaseModel):
            assert not item.model_extra, item.model_extra
            for name in type(item).model_fields:
                known(getattr(item, name))
        elif isinstance(item, list):
            for one in item:
                known(one)

    known(parsed)
    return parsed


texts = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
token_logprobs = st.builds(
    TokenLogprob,
    st.integers(0, 320),
    st.floats(-30, 0),
    st.lists(st.tuples(st.integers(0, 320), st.floats(-30, 0)), max_size=3),
)


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[Event], bool]:
    logprobs = draw(st.booleans())
    done = 0
    events: list[Event] = []
    for text in draw(st.lists(texts, max_size=6)):
        done += draw(st.integers(1, 4))
        events.append(TextDelta(text, done, draw(st.lists(token_logprobs, max_size=3)) if logprobs else None))
    done += draw(st.integers(0, 3))
    cached = draw(st.none() | st.integers(0, PROMPT))
    events.append(Finish(draw(st.sampled_from(["stop", "length"])), PROMPT, done, cached))
    return events, logprobs


@given(answers(), st.sampled_from(list(StreamUsage)), texts)
@settings(max_examples=300, deadline=None)
def test_the_chunks_fold_to_the_completion(
    tokenizer: TextTokenizer, answer: tuple[list[Event], bool], usage: StreamUsage, model_id: str
) -> None:
    events, logprobs = answer
    model = served_model(tokenizer, id="m" + model_id)
    completion = strictly(ChatCompletion, fold(model, events, logprobs=logprobs))
    raw = parse(stream(model, events, usage))
    chunks = [strictly(ChatCompletionChunk, chunk) for chunk in raw]

    for chunk in chunks:
        assert (chunk.id, chunk.created, chunk.model) == (completion.id, completion.created, completion.model)
        assert chunk.system_fingerprint == completion.system_fingerprint
    with_choice = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in with_choice) == completion.choices[0].message.content
    assert [choice.delta.role for choice in with_choice] == ["assistant"] + [None] * (len(with_choice) - 1)
    assert [choice.finish_reason for choice in with_choice[:-1]] == [None] * (len(with_choice) - 1)
    assert with_choice[-1].finish_reason == completion.choices[0].finish_reason
    streamed = [item for choice in with_choice if choice.logprobs for item in choice.logprobs.content]
    final = completion.choices[0].logprobs
    assert streamed == (final.content if final else [])
    assert (final is not None) is logprobs

    usages = [chunk.usage for chunk in chunks]
    if usage is StreamUsage.NONE:
        assert all("usage" not in chunk for chunk in raw)
    else:
        assert all("usage" in chunk for chunk in raw)
        assert usages[-1] == completion.usage
    if usage is StreamUsage.FINAL:
        assert all(one is None for one in usages[:-1])
        assert chunks[-1].choices == [] and all(chunk.choices for chunk in chunks[:-1])
    else:
        assert all(chunk.choices for chunk in chunks)
    if usage is StreamUsage.CONTINUOUS:
        counts = [one.completion_tokens for one in usages]
        assert counts == [0, *(event.completion_tokens for event in events)]
        assert all(one.prompt_tokens == PROMPT and one.total_tokens == PROMPT + one.completion_tokens for one in usages)


@pytest.mark.parametrize("usage", list(StreamUsage))
@pytest.mark.parametrize(
    "model_id",
    [
        "m",
        *(text for text in NASTY if text not in ("", CUT)),
        CUT,
    ],
)
def test_prebuilt_chunks_are_those_that_a_dict_would_give(
    tokenizer: TextTokenizer, model_id: str, usage: StreamUsage
) -> None:
    model = served_model(tokenizer, id=model_id)
    encoder = ChatChunkEncoder(model, "chatcmpl-1", CREATED, usage, ChatForm())
    encoder.start(PROMPT)
    for done, text in enumerate([*NASTY, *map(chr, range(0x80))], start=1):
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": model_id,
            "system_fingerprint": model.fingerprint,
            "choices": [{"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}],
        }
        if usage is StreamUsage.CONTINUOUS:
            chunk["usage"] = {"prompt_tokens": PROMPT, "completion_tokens": done, "total_tokens": PROMPT + done}
        elif usage is StreamUsage.FINAL:
            chunk["usage"] = None
        assert encoder.encode(0, TextDelta(text, done)) == b"data: " + orjson.dumps(chunk) + b"\n\n"


def test_include_usage_is_exactly_openais_form(model: ServedModel) -> None:
    events: list[Event] = [TextDelta("Hi", 1), Finish("stop", PROMPT, 2, 4)]
    envelope = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": "maker/small:1b",
        "system_fingerprint": model.fingerprint,
    }

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**envelope, "choices": [choice], "usage": None}

    usage = {
        "prompt_tokens": PROMPT,
        "completion_tokens": 2,
        "total_tokens": PROMPT + 2,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    assert parse(stream(model, events, StreamUsage.FINAL)) == [
        chunk({"role": "assistant", "content": "", "refusal": None}),
        chunk({"content": "Hi"}),
        chunk({}, "stop"),
        {**envelope, "choices": [], "usage": usage},
    ]


def test_an_empty_answer(model: ServedModel) -> None:
    events: list[Event] = [Finish("stop", PROMPT, 1)]
    completion = fold(model, events, logprobs=True)
    assert completion["choices"][0]["message"]["content"] == ""
    assert completion["choices"][0]["logprobs"] == {"content": [], "refusal": None}
    assert completion["usage"] == {"prompt_tokens": PROMPT, "completion_tokens": 1, "total_tokens": PROMPT + 1}
    assert len(parse(stream(model, events, StreamUsage.NONE))) == 2


def test_the_completion_is_exactly_openais_form(model: ServedModel) -> None:
    assert fold(model, [TextDelta("a", 1), TextDelta("b", 2), Finish("length", PROMPT, 2)]) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": CREATED,
        "model": "maker/small:1b",
        "system_fingerprint": model.fingerprint,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "ab", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": {"prompt_tokens": PROMPT, "completion_tokens": 2, "total_tokens": PROMPT + 2},
    }


def test_log_probabilities(tokenizer: TextTokenizer) -> None:
    """A token that is a part of a character has its exact bytes; a special token is named as it is written."""
    part = next(token for token in tokenizer.encode("\U00010348") if len(tokenizer.token_bytes(token)) < 4)
    start = tokenizer.token_id("<|start|>")
    assert start is not None
    (first, second) = logprobs_content(
        tokenizer, [TokenLogprob(part, -0.5, [(start, -1.5)]), TokenLogprob(9999, 0, [])]
    )
    assert first["bytes"] == list(tokenizer.token_bytes(part))
    assert "\ufffd" in first["token"]
    assert first["logprob"] == -0.5
    assert first["top_logprobs"] == [{"token": "<|start|>", "logprob": -1.5, "bytes": list(b"<|start|>")}]
    assert second == {"token": "", "logprob": 0, "bytes": [], "top_logprobs": []}


@pytest.mark.parametrize("value", [float("-inf"), float("nan"), -1e9])
def test_a_probability_of_zero(tokenizer: TextTokenizer, value: float) -> None:
    """JSON has no infinity: OpenAI's stand-in is -9999."""
    (item,) = logprobs_content(tokenizer, [TokenLogprob(1, value, [(2, value)])])
    assert item["logprob"] == -9999.0
    assert item["top_logprobs"][0]["logprob"] == -9999.0
    assert b"null" not in orjson.dumps(item)


def test_cached_tokens_are_told_when_they_are_known() -> None:
    assert total_usage(5, [Finish("stop", 5, 3, 0)])["prompt_tokens_details"] == {"cached_tokens": 0}
    assert "prompt_tokens_details" not in total_usage(5, [Finish("stop", 5, 3)])


def test_an_error_in_the_middle_of_a_stream() -> None:
    event = error_event(APIError(503, "gone\n\naway", type="server_error", code="triton_unavailable"))
    assert event.startswith(b"data: ") and event.endswith(b"\n\n") and event.count(b"\n") == 2
    assert json.loads(event[6:]) == {
        "error": {"message": "gone\n\naway", "type": "server_error", "param": None, "code": "triton_unavailable"}
    }
