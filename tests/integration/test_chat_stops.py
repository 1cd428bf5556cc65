"""Stop strings: wherever the engine's tokens are cut, the text ends before the first of them."""

from __future__ import annotations

from dataclasses import dataclass

import openai
import pytest

from tests.support import models
from tests.support.answers import collect, user

MAX_TOKENS = 24
# Greedy, and reproducible whatever else the engine does: every answer here is a beginning of the same text.
REQUEST = {
    "model": models.CHAT,
    "messages": user("Name three colors and describe each."),
    "temperature": 0,
    "seed": 1,
    "max_tokens": MAX_TOKENS,
}


@dataclass(frozen=True)
class Written:
    """The answer without a stop string, and the texts of its tokens."""

    text: str
    tokens: list[str]

    def start(self, token: int) -> int:
        """Where a token begins in the text."""
        return len("".join(self.tokens[:token]))


@pytest.fixture
def written(openai_client: openai.OpenAI) -> Written:
    (choice,) = openai_client.chat.completions.create(logprobs=True, **REQUEST).choices
    assert choice.message.content is not None and choice.logprobs is not None
    tokens = [entry.token for entry in choice.logprobs.content or []]
    assert "".join(tokens) == choice.message.content
    assert choice.finish_reason == "length"
    return Written(choice.message.content, tokens)


def check(client: openai.OpenAI, written: Written, stop: str | list[str]) -> None:
    """Both forms of the answer end before the stop string that begins first, and say so."""
    stops = [stop] if isinstance(stop, str) else stop
    places = [written.text.find(one) for one in stops if one in written.text]
    end = min(places) if places else len(written.text)
    reason = "stop" if places else "length"

    answer = client.chat.completions.create(stop=stop, **REQUEST)
    assert answer.choices[0].message.content == written.text[:end]
    assert answer.choices[0].finish_reason == reason

    streamed = collect(client.chat.completions.create(stop=stop, stream=True, **REQUEST))
    shown = ""
    for delta in streamed.deltas:
        shown += delta
        assert written.text[:end].startswith(shown), f"{shown!r} shows more than {written.text[:end]!r}"
    assert shown == written.text[:end]
    assert streamed.finish_reason == reason

    for usage in (answer.usage, streamed.chunks[-1].usage):
        assert usage is not None
        # As many tokens as it takes to be certain of the stop string, and not the whole answer.
        assert usage.completion_tokens <= MAX_TOKENS
        if places and end < len(written.text) // 2:
            assert usage.completion_tokens < MAX_TOKENS


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("first", [4, 7])
def test_stop_from_the_middle_of_one_token_to_the_middle_of_another(
    openai_client: openai.OpenAI, written: Written, first: int, length: int
) -> None:
    while len(written.tokens[first]) < 3 or len(written.tokens[first + length]) < 3:
        first += 1
    begin = written.start(first) + 1
    end = written.start(first + length) + 2
    stop = written.text[begin:end]
    assert not any(stop in token for token in written.tokens), "the stop string lies within a token"
    check(openai_client, written, stop)


def test_stop_within_one_token(openai_client: openai.OpenAI, written: Written) -> None:
    token = next(token for token in written.tokens[4:] if len(token) > 4)
    check(openai_client, written, token[2:4])


def test_stop_at_the_very_beginning(openai_client: openai.OpenAI, written: Written) -> None:
    check(openai_client, written, written.text[:1])
    answer = openai_client.chat.completions.create(stop=written.text[:1], **REQUEST)
    assert answer.choices[0].message.content == ""


def test_the_one_that_begins_first_decides(openai_client: openai.OpenAI, written: Written) -> None:
    late, early = written.text[30:33], written.text[18:24]
    check(openai_client, written, [late, early, "never written"])


def test_begun_but_not_completed_is_shown(openai_client: openai.OpenAI, written: Written) -> None:
    """Held back as long as it may become a stop string, and given out when it does not, or at the end."""
    middle, end = written.text[20:30] + "\x01", written.text[-5:] + "\x01"
    check(openai_client, written, [middle, end])


def test_stop_on_the_last_characters(openai_client: openai.OpenAI, written: Written) -> None:
    check(openai_client, written, written.text[-3:])


def test_log_probabilities_end_with_the_text(openai_client: openai.OpenAI, written: Written) -> None:
    stop = written.text[written.start(6) + 1 : written.start(8) + 1]
    end = written.text.find(stop)
    answer = openai_client.chat.completions.create(stop=stop, logprobs=True, **REQUEST)
    streamed = collect(openai_client.chat.completions.create(stop=stop, logprobs=True, stream=True, **REQUEST))
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    shown = "".join(entry.token for entry in logprobs.content)
    assert shown.startswith(written.text[:end])
    assert len(shown) - len(logprobs.content[-1].token) < end, "a token of the stop string alone has been given out"
    assert [entry.token for entry in streamed.logprobs] == [entry.token for entry in logprobs.content]


def test_the_engine_is_told(openai_client: openai.OpenAI, written: Written) -> None:
    """The engine knows nothing of the stop string: an answer without a limit ends all the same."""
    request = {**REQUEST, "max_tokens": 4000, "logit_bias": {"2": -100}}
    answer = openai_client.chat.completions.create(stop=written.text[10:14], **request)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.completion_tokens < MAX_TOKENS
