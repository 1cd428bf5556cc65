"""Text completions on the real engine: prompts of every form, log probabilities, filling in, several answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import pytest
from openai.types import Completion, CompletionChoice

from tests.support import models
from tests.support.metrics import wait_until_idle

PROMPT = "The capital of France is"
REQUEST: dict[str, Any] = {"model": models.CHAT, "prompt": PROMPT, "temperature": 0, "seed": 1, "max_tokens": 8}
SAMPLED: dict[str, Any] = {**REQUEST, "temperature": 1}


@dataclass
class Folded:
    """One choice of a stream, its pieces laid end to end."""

    text: str = ""
    finish_reasons: list[str] = field(default_factory=list)
    logprobs: dict[str, list[Any]] = field(default_factory=dict)


def fold(stream: Iterable[Completion]) -> dict[int, Folded]:
    choices: dict[int, Folded] = {}
    for chunk in stream:
        for choice in chunk.choices:
            folded = choices.setdefault(choice.index, Folded())
            assert not folded.finish_reasons, "something follows the end"
            folded.text += choice.text
            if choice.finish_reason is not None:
                folded.finish_reasons.append(choice.finish_reason)
            if choice.logprobs is not None:
                for name, values in choice.logprobs.to_dict().items():
                    folded.logprobs.setdefault(name, []).extend(values)  # type: ignore[arg-type]
    return choices


def token_logprobs(choice: CompletionChoice) -> list[Any]:
    assert choice.logprobs is not None and choice.logprobs.token_logprobs is not None
    return choice.logprobs.token_logprobs


def token_ids(adapter_url: str, text: str, model: str = models.CHAT) -> list[int]:
    answer = httpx.post(f"{adapter_url}/v1/tokenize", json={"model": model, "prompt": text}, trust_env=False)
    answer.raise_for_status()
    tokens: list[int] = answer.json()["tokens"]
    return tokens


def test_a_text(openai_client: openai.OpenAI) -> None:
    answer = openai_client.completions.create(**REQUEST)
    (choice,) = answer.choices
    assert "Paris" in choice.text
    assert choice.text.startswith(" ")  # it goes on where the prompt ends
    assert choice.logprobs is None
    assert answer.id.startswith("cmpl-") and answer.object == "text_completion" and answer.system_fingerprint
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_default_of_max_tokens(openai_client: openai.OpenAI) -> None:
    request = {name: value for name, value in REQUEST.items() if name != "max_tokens"}
    answer = openai_client.completions.create(**request, extra_body={"ignore_eos": True})
    assert answer.usage is not None and answer.usage.completion_tokens == 16
    assert answer.choices[0].finish_reason == "length"


def test_token_ids_are_the_text(openai_client: openai.OpenAI, adapter_url: str) -> None:
    ids = token_ids(adapter_url, PROMPT)
    of_text = openai_client.completions.create(**REQUEST)
    of_ids = openai_client.completions.create(**{**REQUEST, "prompt": ids})
    of_rows = openai_client.completions.create(**{**REQUEST, "prompt": [ids, ids[:3]]})
    assert of_ids.choices[0].text == of_text.choices[0].text == of_rows.choices[0].text
    assert of_ids.usage is not None and of_text.usage is not None and of_rows.usage is not None
    assert of_ids.usage.prompt_tokens == of_text.usage.prompt_tokens == len(ids)
    assert of_rows.usage.prompt_tokens == len(ids) + 3
    echoed = openai_client.completions.create(**{**REQUEST, "prompt": ids}, echo=True)
    assert echoed.choices[0].text == PROMPT + of_text.choices[0].text


def test_two_prompts(openai_client: openai.OpenAI) -> None:
    """Prompt i has the choices i*n to i*n + n-1, and the answers that it has alone."""
    prompts = [PROMPT, "Two plus two is"]
    request = {**SAMPLED, "n": 2}
    together = openai_client.completions.create(**{**request, "prompt": prompts}, echo=True)
    assert [choice.index for choice in together.choices] == [0, 1, 2, 3]
    alone = [openai_client.completions.create(**{**request, "prompt": prompt}, echo=True) for prompt in prompts]
    assert [choice.text for choice in together.choices] == [choice.text for one in alone for choice in one.choices]
    usages = [answer.usage for answer in (together, *alone)]
    assert usages[0] is not None and usages[1] is not None and usages[2] is not None
    assert usages[0].prompt_tokens == usages[1].prompt_tokens + usages[2].prompt_tokens
    assert usages[0].completion_tokens == usages[1].completion_tokens + usages[2].completion_tokens
    streamed = fold(openai_client.completions.create(**{**request, "prompt": prompts}, echo=True, stream=True))
    assert [streamed[index].text for index in range(4)] == [choice.text for choice in together.choices]


def test_without_a_prompt(openai_client: openai.OpenAI) -> None:
    answer = openai_client.completions.create(**{**REQUEST, "prompt": None})
    assert answer.usage is not None and answer.usage.prompt_tokens == 1


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("logprobs", [None, 0, 2])
def test_a_stream_is_the_answer_in_pieces(openai_client: openai.OpenAI, echo: bool, logprobs: int | None) -> None:
    request = {**SAMPLED, "n": 3, "echo": echo, "logprobs": logprobs}
    whole = openai_client.completions.create(**request)
    chunks = list(openai_client.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    streamed = fold(chunks)
    assert len({choice.text for choice in whole.choices}) > 1, "the choices have seeds of their own"
    for choice in whole.choices:
        other = streamed[choice.index]
        assert (other.text, other.finish_reasons) == (choice.text, [choice.finish_reason])
        assert choice.text.startswith(PROMPT) == echo
        if choice.logprobs is None:
            assert logprobs is None and not other.logprobs
            continue
        expected = choice.logprobs
        assert other.logprobs["tokens"] == expected.tokens
        assert other.logprobs["text_offset"] == expected.text_offset
        assert len(other.logprobs["token_logprobs"]) == len(expected.tokens or [])
        for one, two in zip(other.logprobs["token_logprobs"], token_logprobs(choice), strict=True):
            assert one == two if one is None or two is None else one == pytest.approx(two, abs=1e-3)
        for offset, token in zip(expected.text_offset or [], expected.tokens or [], strict=True):
            assert choice.text[offset:].startswith(token) or offset == len(choice.text)
    assert whole.usage is not None and chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_choice_is_what_its_seed_gives_alone(openai_client: openai.OpenAI) -> None:
    together = openai_client.completions.create(**SAMPLED, n=3)
    for choice in together.choices:
        alone = openai_client.completions.create(**{**SAMPLED, "seed": SAMPLED["seed"] + choice.index})
        assert alone.choices[0].text == choice.text


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_scoring(openai_client: openai.OpenAI, max_tokens: int) -> None:
    """As evaluation harnesses score: the prompt's log probabilities are those that generation reports for its tokens.

    They look up the values after the context, without the generated tokens.
    """
    written = openai_client.completions.create(**REQUEST, logprobs=1).choices[0]
    scored = openai_client.completions.create(
        **{**REQUEST, "prompt": PROMPT + written.text, "max_tokens": max_tokens}, logprobs=1, echo=True
    )
    (choice,) = scored.choices
    assert scored.usage is not None and scored.usage.completion_tokens == max_tokens
    assert choice.finish_reason == "length" or max_tokens
    values = token_logprobs(choice)
    assert len(values) == scored.usage.total_tokens  # one per token, an end token included
    assert values[0] is None and None not in values[1:]
    continuation = values[len(values) - max_tokens - len(token_logprobs(written)) : len(values) - max_tokens]
    assert sum(continuation) == pytest.approx(sum(token_logprobs(written)), abs=0.02)
    assert choice.logprobs is not None and written.logprobs is not None
    assert (choice.logprobs.tokens or [])[-8 - max_tokens :][:8] == written.logprobs.tokens
    top: Any = choice.logprobs.top_logprobs
    assert top[0] is None
    greedy = [max(entry, key=entry.get) for entry in top[-8 - max_tokens :][:8]]
    assert greedy == written.logprobs.tokens  # what "is greedy" is looked up by


def test_scores_in_a_stream(openai_client: openai.OpenAI) -> None:
    request = {**REQUEST, "prompt": [PROMPT, "Two plus two is four"], "max_tokens": 0, "logprobs": 1, "echo": True}
    whole = openai_client.completions.create(**request)
    streamed = fold(openai_client.completions.create(**request, stream=True))
    for choice in whole.choices:
        other = streamed[choice.index]
        assert (other.text, other.finish_reasons) == (choice.text, ["length"])
        assert other.logprobs["token_logprobs"][1:] == pytest.approx(token_logprobs(choice)[1:], abs=1e-3)
        assert other.logprobs["tokens"] and len(other.logprobs["tokens"]) == len(token_logprobs(choice))


def test_as_many_prompts_as_there_may_be(openai_client: openai.OpenAI) -> None:
    prompts = [f"{PROMPT} {number}" for number in range(128)]
    answer = openai_client.completions.create(**{**REQUEST, "prompt": prompts, "max_tokens": 1}, echo=True)
    assert [choice.index for choice in answer.choices] == list(range(128))
    assert all(choice.text.startswith(prompt) for choice, prompt in zip(answer.choices, prompts, strict=True))
    assert answer.usage is not None and answer.usage.completion_tokens == 128


def test_no_tokens_without_scores(openai_client: openai.OpenAI) -> None:
    request = {**REQUEST, "max_tokens": 0, "prompt": [PROMPT, "a"]}
    answer = openai_client.completions.create(**request, echo=True)
    assert [choice.text for choice in answer.choices] == [PROMPT, "a"]
    assert [choice.finish_reason for choice in answer.choices] == ["length"] * 2
    assert answer.usage is not None and answer.usage.completion_tokens == 0
    streamed = fold(openai_client.completions.create(**request, stream=True))
    assert {index: choice.text for index, choice in streamed.items()} == {0: "", 1: ""}
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.completions.create(**{**request, "prompt": "word " * 20_000})
    assert (caught.value.param, caught.value.code) == ("prompt", "context_length_exceeded")


def test_best_of(openai_client: openai.OpenAI) -> None:
    """The answers of the highest mean log probability, among those that n=4 returns."""
    every = openai_client.completions.create(**SAMPLED, n=4, logprobs=0)
    means = {choice.text: sum(token_logprobs(choice)) / len(token_logprobs(choice)) for choice in every.choices}
    ranked = sorted(means, key=lambda text: means[text], reverse=True)
    best = openai_client.completions.create(**SAMPLED, n=2, best_of=4)
    assert [choice.text for choice in best.choices] == ranked[:2]
    assert [choice.index for choice in best.choices] == [0, 1]
    assert all(choice.logprobs is None for choice in best.choices)
    assert best.usage is not None and every.usage is not None
    assert best.usage.completion_tokens == every.usage.completion_tokens


FILLING_IN: dict[str, Any] = {"model": models.GOOD_CHAT, "temperature": 0, "seed": 1, "max_tokens": 24}


@pytest.mark.parametrize("name", ["json", "math"])
def test_filling_in(openai_client: openai.OpenAI, name: str) -> None:
    """What is written is what the suffix needs."""
    answer = openai_client.completions.create(
        **FILLING_IN, prompt="import ", suffix=f"\n\nprint({name}.dumps(1), {name}.sqrt(4))\n", stop="\n"
    )
    assert answer.choices[0].text.strip() == name


def test_the_end_of_what_was_filled_in(openai_client: openai.OpenAI) -> None:
    """The model ends it by a token that ends no chat; it is no text."""
    request = {
        **FILLING_IN,
        "prompt": "def add(a, b):\n    ",
        "suffix": "\n\ndef sub(a, b):\n    return a - b\n",
        "echo": True,
    }
    (whole,) = openai_client.completions.create(**request).choices
    assert whole.finish_reason == "stop"
    assert whole.text.startswith("def add(a, b):\n    return a ")
    assert "<|" not in whole.text
    (streamed,) = fold(openai_client.completions.create(**request, stream=True)).values()
    assert (streamed.text, streamed.finish_reasons) == (whole.text, ["stop"])


def test_a_client_that_leaves_ends_every_answer(openai_client: openai.OpenAI, adapter_url: str) -> None:
    before = wait_until_idle(adapter_url).value("tritongate_cancelled_total")
    request = {**SAMPLED, "prompt": [PROMPT, "a"], "n": 2, "max_tokens": 4000}
    with openai_client.completions.create(**request, stream=True, extra_body={"ignore_eos": True}) as stream:
        next(iter(stream))
    after = wait_until_idle(adapter_url)
    assert after.value("tritongate_cancelled_total") == before + 4


def test_a_suffix_for_a_model_that_cannot(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.completions.create(**REQUEST, suffix="x")
    assert (caught.value.param, caught.value.code) == ("suffix", "unsupported_parameter")


def test_stop_and_bias_and_extensions(openai_client: openai.OpenAI, adapter_url: str) -> None:
    plain = openai_client.completions.create(**REQUEST).choices[0]
    answer = openai_client.completions.create(**REQUEST, stop=["Paris"], logprobs=0)
    (stopped,) = answer.choices
    assert (stopped.text, stopped.finish_reason) == (plain.text.partition("Paris")[0], "stop")
    assert answer.usage is not None and len(token_logprobs(stopped)) == answer.usage.completion_tokens
    (first,) = token_ids(adapter_url, " Paris")
    biased = openai_client.completions.create(**{**REQUEST, "logit_bias": {str(first): -100}}).choices[0]
    assert " Paris" not in biased.text
    barred = openai_client.completions.create(**REQUEST, extra_body={"bad_words": ["Paris"]}).choices[0]
    assert "Paris" not in barred.text
    greedy = openai_client.completions.create(**{**REQUEST, "temperature": 2}, extra_body={"top_k": 1}).choices[0]
    assert greedy.text == plain.text


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"prompt": [10**6]}, "prompt", "invalid_value"),
        ({"prompt": ["a", ""]}, "prompt[1]", "invalid_value"),
        ({"prompt": "word " * 20_000}, "prompt", "context_length_exceeded"),
        ({"max_tokens": 100_000}, "prompt", "context_length_exceeded"),
        ({"n": 2, "best_of": 1}, "best_of", "invalid_value"),
        ({"best_of": 2, "stream": True}, "best_of", "invalid_parameter_combination"),
        ({"logprobs": 21}, "logprobs", "integer_above_max_value"),
        ({"prompt": ["a"] * 65, "n": 2}, "n", "integer_above_max_value"),
        ({"model": models.EMBEDDING}, "model", None),
    ],
)
def test_refusals(openai_client: openai.OpenAI, changes: dict[str, Any], param: str, code: str | None) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        openai_client.completions.create(**{**REQUEST, **changes})
    assert caught.value.status_code in (400, 404)
    assert caught.value.param == param
    assert code is None or caught.value.code == code
