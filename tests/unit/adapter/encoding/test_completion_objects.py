"""Text completions on the wire: whatever the events, a stream's pieces laid end to end are the object in one piece."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapter.encoding.completion import CompletionFold
from adapter.encoding.completion_chunks import CompletionChunkEncoder
from adapter.encoding.completion_pieces import CompletionForm, CompletionPieces
from adapter.generation.answer import Answer
from adapter.generation.events import Event, Finish, PromptLogprobs, TextDelta, TokenLogprob
from adapter.settings import StreamUsage
from adapter.triton.model import ServedModel
from tests.unit.tokentext.tokenizer_kinds import KINDS, write_folder
from tokentext import TextTokenizer

PROMPTS = ("Hi", '"日"')
Events = list[tuple[int, Event]]


def scored(model: ServedModel, text: str, value: float = -1.0) -> list[TokenLogprob]:
    return [TokenLogprob(token, value, [(token, value)]) for token in model.tokenizer.encode(text)]


def end(model: ServedModel, value: float = -0.5) -> TokenLogprob:
    token = model.tokenizer.token_id("<|end|>")
    assert token is not None
    return TokenLogprob(token, value, [])


def two_prompts(model: ServedModel, form: CompletionForm) -> Events:
    """Two prompts with two answers each, mixed as they come."""
    kept = form.logprobs
    events: Events = []
    if form.scores_prompt:
        events += [(index, PromptLogprobs(scored(model, PROMPTS[index // 2]))) for index in range(4)]
    for done, text in enumerate(("a", "é\n"), 1):
        events += [(index, TextDelta(text, done, scored(model, text) if kept else None)) for index in (2, 0, 3, 1)]
    for index in (1, 0, 3, 2):
        events.append((index, Finish("stop", 5, 3, cached_tokens=index, logprobs=[end(model)] if kept else None)))
    return events


def whole(model: ServedModel, form: CompletionForm, events: Events, **shape: int) -> dict[str, Any]:
    fold = CompletionFold(model, "cmpl-1", 7, form, **shape)
    for index, item in events:
        fold.add(index, item)
    body: dict[str, Any] = json.loads(fold.body(10))
    return body


def chunks(
    model: ServedModel, form: CompletionForm, events: Events, usage: StreamUsage = StreamUsage.FINAL, **options: Any
) -> list[dict[str, Any]]:
    encoder = CompletionChunkEncoder(model, "cmpl-1", 7, usage, form, **options)
    data = encoder.start(10) + b"".join(encoder.encode(index, item) for index, item in events) + encoder.end()
    *lines, done, rest = data.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize("obfuscation", [False, True])
@pytest.mark.parametrize(
    "form",
    [
        CompletionForm(choices=2),
        CompletionForm(choices=2, echo=PROMPTS),
        CompletionForm(choices=2, logprobs=True),
        CompletionForm(choices=2, logprobs=True, echo=PROMPTS, scores_prompt=True),
    ],
    ids=["plain", "echo", "logprobs", "scores"],
)
def test_a_stream_is_the_object_in_pieces(model: ServedModel, form: CompletionForm, obfuscation: bool) -> None:
    events = two_prompts(model, form)
    body = whole(model, form, events, prompts=2, candidates=2)
    streamed = chunks(model, form, events, prompts=2, obfuscation=obfuscation)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    for choice in body["choices"]:
        pieces = [one for chunk in streamed for one in chunk["choices"] if one["index"] == choice["index"]]
        assert "".join(piece["text"] for piece in pieces) == choice["text"]
        reasons = [piece["finish_reason"] for piece in pieces]
        assert reasons == [None] * (len(pieces) - 1) + [choice["finish_reason"]]
        if choice["logprobs"] is None:
            assert not form.logprobs and all(piece["logprobs"] is None for piece in pieces)
        else:
            for name, values in choice["logprobs"].items():
                assert [value for piece in pieces for value in piece["logprobs"][name]] == values
    assert streamed[-1]["usage"] == body["usage"] and streamed[-1]["choices"] == []
    assert all(chunk["usage"] is None for chunk in streamed[:-1])
    for name in ("id", "object", "created", "model", "system_fingerprint"):
        assert {json.dumps(one[name]) for one in (body, *streamed)} == {json.dumps(body[name])}


def test_the_object(model: ServedModel) -> None:
    form = CompletionForm(choices=2, logprobs=True, echo=PROMPTS, scores_prompt=True)
    body = whole(model, form, two_prompts(model, form), prompts=2, candidates=2)
    assert (body["id"], body["object"], body["created"]) == ("cmpl-1", "text_completion", 7)
    choice = body["choices"][2]
    assert choice["text"] == '"日"aé\n'
    logprobs = choice["logprobs"]
    assert logprobs["token_logprobs"][:2] == [None, -1.0] and logprobs["token_logprobs"][-1] == -0.5
    assert logprobs["text_offset"][0] == 0 and logprobs["text_offset"][-1] == len(choice["text"])
    assert logprobs["tokens"][-1] == "<|end|>"
    # Each prompt's first answer met the cache as it was before.
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 0 + 2}
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (10, 12)


def test_a_token_before_the_prompt_has_no_place_in_its_text(model: ServedModel) -> None:
    """A text's beginning-of-text token is a token of the prompt that the client did not send."""
    form = CompletionForm(logprobs=True, echo=("Hi",), scores_prompt=True)
    prompt = [end(model), *scored(model, "Hi")]
    events: Events = [
        (0, PromptLogprobs(prompt)),
        (0, TextDelta("a", 1, scored(model, "a"))),
        (0, Finish("stop", 3, 1)),
    ]
    logprobs = whole(model, form, events)["choices"][0]["logprobs"]
    places = dict(zip(logprobs["tokens"], logprobs["text_offset"], strict=True))
    assert (places["<|end|>"], places["a"]) == (0, 2)
    assert logprobs["text_offset"][1] == 0


def test_the_best_are_returned_best_first(model: ServedModel) -> None:
    """By the mean over all tokens, not the sum: the end token counts, and so does a prompt's neither way."""
    form = CompletionForm(choices=2)
    events: Events = []
    for index, (text, value, last) in enumerate((("a", -2.0, -2.0), ("b", -0.5, -4.0), ("c", -1.0, -1.0))):
        events += [
            (index, TextDelta(text, 1, scored(model, text, value))),
            (index, Finish("stop", 3, 2, logprobs=[end(model, last)])),
        ]
    body = whole(model, form, events, candidates=3)
    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == [(0, "c"), (1, "a")]
    assert all(choice["logprobs"] is None for choice in body["choices"])
    assert body["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_an_impossible_answer_is_the_worst(model: ServedModel, value: float) -> None:
    events: Events = []
    for index, (text, logprob) in enumerate((("a", value), ("b", -9.0))):
        events += [(index, TextDelta(text, 1, scored(model, text, logprob))), (index, Finish("length", 3, 1))]
    body = whole(model, CompletionForm(), events, candidates=2)
    assert [choice["text"] for choice in body["choices"]] == ["b"]


@pytest.mark.parametrize("logprobs", [False, True])
def test_running_usage(model: ServedModel, logprobs: bool) -> None:
    form = CompletionForm(choices=2, echo=PROMPTS, logprobs=logprobs)
    events = two_prompts(model, form)
    streamed = chunks(model, form, events, StreamUsage.CONTINUOUS, prompts=2)
    counts = [chunk["usage"]["completion_tokens"] for chunk in streamed]
    assert counts == [0] * 4 + [1, 2, 3, 4, 5, 6, 7, 8] + [9, 10, 11, 12]
    assert all(chunk["usage"]["prompt_tokens"] == 10 for chunk in streamed)
    assert streamed[-1]["usage"] == whole(model, form, events, prompts=2, candidates=2)["usage"]


def test_no_usage(model: ServedModel) -> None:
    form = CompletionForm(choices=2)
    assert all(
        "usage" not in chunk for chunk in chunks(model, form, two_prompts(model, form), StreamUsage.NONE, prompts=2)
    )


def test_an_answer_goes_on_where_the_prompt_ends(tmp_path: Path) -> None:
    """A tokenizer that drops the space before a text's first word keeps that of an answer, and counts it."""
    tokenizer = TextTokenizer(write_folder(tmp_path / "t", KINDS["llama_like"]()))
    ids = tokenizer.encode("the the")
    (place,) = [index for index in range(1, len(ids)) if tokenizer.decode(ids[:index]) == "the"]
    items = [TokenLogprob(token, -1.0, []) for token in ids[place:]]
    answer = Answer(tokenizer, stop=(), end_ids=(), max_tokens=len(items), logprobs=True, continues=True)
    text = answer.push(ids[place:], items)
    assert text == " the"
    pieces = CompletionPieces(tokenizer, CompletionForm(logprobs=True, echo=("the",)), "the")
    parts = [pieces.start(), pieces.push(TextDelta(text, 1, items)), pieces.push(Finish("stop", 1, 1, logprobs=items))]
    assert "".join(part.text for part in parts if part) == "the the"
    assert parts[1] is not None and parts[1].logprobs is not None and parts[1].logprobs["text_offset"][0] == 3
    assert parts[2] is not None and parts[2].logprobs is not None and parts[2].logprobs["text_offset"][0] == 7
