"""Text beyond ASCII: characters that no single token holds arrive whole, whatever the engine's tokens are."""

from __future__ import annotations

import json
from pathlib import Path

import openai
import pytest

from tests.support import models
from tests.support.answers import Streamed, collect, exactly, user
from tests.support.own_models import tokenizer_of

TEXTS = [
    pytest.param("日本語を話す", id="cjk"),
    pytest.param("🎌👩‍👩‍👧🏴󠁧󠁢󠁳󠁣󠁴󠁿", id="emoji"),
    pytest.param("ñ ß é grüezi Ωμέγα", id="latin and greek"),
    pytest.param("نص 한국어 हिन्दी", id="mixed"),
]


def streamed_exactly(client: openai.OpenAI, value: str, **options: object) -> Streamed:
    return collect(
        client.chat.completions.create(  # type: ignore[call-overload]
            model=models.CHAT,
            messages=user("Say it."),
            response_format=exactly(value),
            max_tokens=200,
            stream=True,
            seed=2,
            **options,
        )
    )


@pytest.mark.parametrize("value", TEXTS)
def test_no_chunk_holds_a_part_of_a_character(openai_client: openai.OpenAI, value: str) -> None:
    streamed = streamed_exactly(openai_client, value, logprobs=True)
    cut = [entry for entry in streamed.logprobs if "\ufffd" in bytes(entry.bytes or []).decode("utf-8", "replace")]
    assert cut, "no token cut a character: this shows nothing"
    for delta in streamed.deltas:
        assert "\ufffd" not in delta
        delta.encode()  # no half of a surrogate pair either
    assert json.loads(streamed.text) == {"answer": value}
    assert streamed.finish_reason == "stop"
    assert b"".join(bytes(entry.bytes or []) for entry in streamed.logprobs).decode() == streamed.text


@pytest.mark.parametrize("value", TEXTS)
def test_one_piece_has_the_same_text(openai_client: openai.OpenAI, value: str) -> None:
    answer = openai_client.chat.completions.create(
        model=models.CHAT, messages=user("Say it."), response_format=exactly(value), max_tokens=200, seed=2
    )
    assert json.loads(answer.choices[0].message.content or "") == {"answer": value}


def test_stop_string_beyond_ascii(openai_client: openai.OpenAI) -> None:
    streamed = streamed_exactly(openai_client, "日本語を話す", stop="語を")
    assert "".join(streamed.text.split()) == '{"answer":"日本'
    assert streamed.finish_reason == "stop"


def test_an_answer_that_ends_within_a_character(openai_client: openai.OpenAI, repository: Path) -> None:
    """Cut by the length in the middle of a character: what is left of it is U+FFFD, once, in both forms."""
    (first, *_) = tokenizer_of(repository, models.CHAT).encode("語", add_special_tokens=False).ids
    request = {
        "model": models.CHAT,
        "messages": user("Say it."),
        "logit_bias": {str(first): 100},
        "max_tokens": 1,
    }
    streamed = collect(openai_client.chat.completions.create(stream=True, **request))
    whole = openai_client.chat.completions.create(**request)
    assert streamed.text == whole.choices[0].message.content == "\ufffd"
    assert streamed.finish_reason == whole.choices[0].finish_reason == "length"


def test_prompt_beyond_ascii_is_counted_right(openai_client: openai.OpenAI, repository: Path) -> None:
    text = "日本語 👩‍👩‍👧 नमस्ते"
    tokenizer = tokenizer_of(repository, models.CHAT)
    counts = []
    for content in ("", text):
        answer = openai_client.chat.completions.create(
            model=models.CHAT,
            messages=[{"role": "system", "content": "x"}, {"role": "user", "content": content}],
            max_tokens=1,
        )
        assert answer.usage is not None
        counts.append(answer.usage.prompt_tokens)
    assert counts[1] - counts[0] == len(tokenizer.encode(text, add_special_tokens=False).ids)
