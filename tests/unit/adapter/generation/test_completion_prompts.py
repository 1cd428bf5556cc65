"""Prompts of text completions as token ids."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tokenizers.processors import TemplateProcessing

from adapter.errors import APIError
from adapter.generation.completion_prompts import CompletionPrompt, completion_prompts, filling_in
from adapter.triton.model import ServedModel
from tests.unit.adapter.served import served_model
from tests.unit.tokentext.tokenizer_kinds import byte_level, write_folder
from tokentext import TextTokenizer

FIM = ("<|start|>", "<|end|>", "<tool call>")  # any three tokens that the vocabulary has


async def made(
    model: ServedModel,
    prompts: list[str] | list[list[int]] | None,
    *,
    suffix: str | None = None,
    add_special_tokens: bool = True,
    single: bool = False,
) -> list[CompletionPrompt]:
    return await completion_prompts(model, prompts, suffix=suffix, add_special_tokens=add_special_tokens, single=single)


@pytest.fixture(scope="module")
def with_bos(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """A model whose tokenizer puts a token before every text."""
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|start|>", "<|end|>"])
    start = tokenizer.token_to_id("<|start|>")
    tokenizer.post_processor = TemplateProcessing(single="<|start|> $A", special_tokens=[("<|start|>", start)])
    folder = write_folder(
        tmp_path_factory.mktemp("bos") / "t", tokenizer, {"bos_token": "<|start|>", "eos_token": "<|end|>"}
    )
    loaded = TextTokenizer(folder)
    return replace(served_model(loaded), vocab_size=1000)


def start_of(model: ServedModel) -> int:
    token = model.tokenizer.token_id("<|start|>")
    assert token is not None
    return token


async def test_texts(model: ServedModel) -> None:
    found = await made(model, ["Hello", "日本"])
    assert [prompt.token_ids for prompt in found] == [model.tokenizer.encode(text) for text in ("Hello", "日本")]
    assert [prompt.text for prompt in found] == ["Hello", "日本"]


async def test_a_long_text_is_the_same(model: ServedModel) -> None:
    """Those are tokenized beside the event loop."""
    (found,) = await made(model, ["Hello " * 2000])
    assert found.token_ids == model.tokenizer.encode("Hello " * 2000)


async def test_token_ids(with_bos: ServedModel) -> None:
    """They are what the model reads; what they say is shown with its special tokens."""
    ids = [start_of(with_bos), *with_bos.tokenizer.encode("Hello")]
    (found,) = await made(with_bos, [ids])
    assert found == CompletionPrompt(ids, "<|start|>Hello")


async def test_special_tokens_around_a_text(with_bos: ServedModel) -> None:
    ids = with_bos.tokenizer.encode("Hello")
    assert (await made(with_bos, ["Hello"]))[0] == CompletionPrompt([start_of(with_bos), *ids], "Hello")
    assert (await made(with_bos, ["Hello"], add_special_tokens=False))[0] == CompletionPrompt(ids, "Hello")


async def test_the_start_of_a_document(with_bos: ServedModel) -> None:
    (found,) = await made(with_bos, None)
    assert found.token_ids == [start_of(with_bos)]


async def test_no_start_of_a_document(model: ServedModel) -> None:
    with pytest.raises(APIError) as caught:
        await made(model, None)
    assert (caught.value.status, caught.value.param) == (400, "prompt")


async def test_filling_in(with_bos: ServedModel) -> None:
    model = replace(with_bos, fim=FIM)
    encode, (before, between, after) = model.tokenizer.encode, (model.tokenizer.token_id(token) for token in FIM)
    (found,) = await made(model, ["a"], suffix="b")
    assert found == CompletionPrompt(
        [start_of(model), before, *encode("a"), between, *encode("b"), after],  # type: ignore[list-item]
        "a",
    )
    (of_ids,) = await made(model, [encode("a")], suffix="")
    assert of_ids.token_ids == [before, *encode("a"), between, after]


async def test_filling_in_without_the_tokens(model: ServedModel) -> None:
    for fim in (None, ("<|start|>", "<|end|>", "<|nothing|>")):
        with pytest.raises(APIError) as caught:
            await made(replace(model, fim=fim), ["a"], suffix="b")
        assert (caught.value.status, caught.value.param, caught.value.code) == (
            400,
            "suffix",
            "unsupported_parameter",
        )


@pytest.mark.parametrize(
    ("prompts", "single", "param"),
    [([""], True, "prompt"), (["a", ""], False, "prompt[1]"), ([[5], [10**6]], False, "prompt[1]")],
)
async def test_refusals(model: ServedModel, prompts: list[str], single: bool, param: str) -> None:
    with pytest.raises(APIError) as caught:
        await made(model, prompts, single=single)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, "invalid_value")


def test_what_ends_a_middle(with_bos: ServedModel) -> None:
    """The model's own ends first, then every special token."""
    model = replace(with_bos, fim=FIM)
    ends = filling_in(model).end_ids
    assert ends[: len(model.end_ids)] == model.end_ids
    assert model.tokenizer.special_ids <= set(ends)
    assert len(ends) == len(set(ends)) <= 64
