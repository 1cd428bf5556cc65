"""The prompts of a text completion: texts or token ids in, token ids out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from adapter.errors import invalid_request
from adapter.triton.model import ServedModel

# Up to here tokenizing takes about a millisecond; beyond, it would make other streams wait.
_INLINE_CHARACTERS = 4096
# Tokens that end a filled-in middle; TensorRT-LLM compares each of them with every new token.
_MOST_END_IDS = 64


@dataclass(frozen=True)
class CompletionPrompt:
    """token_ids: what the model reads. text: what `echo` returns."""

    token_ids: list[int]
    text: str


async def completion_prompts(
    model: ServedModel,
    prompts: Sequence[str | list[int]] | None,
    *,
    suffix: str | None,
    add_special_tokens: bool,
    single: bool,
) -> list[CompletionPrompt]:
    """One prompt for each of the request's, in their order.

    Args:
        prompts: None: the beginning of a new document.
        suffix: the text after the one to be written.
        add_special_tokens: whether texts get what the tokenizer puts around a text, such as a beginning-of-text token.
        single: whether the request's `prompt` is the one prompt itself, not a list of prompts.

    Raises:
        APIError: 400, a prompt has no token or one that is none, or the model cannot fill in the middle.
    """
    if prompts is None:
        prompts = [[_start_of_document(model)]]
        single = True
    fim = _fim_ids(model) if suffix is not None else None

    def encode() -> list[CompletionPrompt]:
        return [
            _encoded(model, prompt, _param(index, single), suffix if fim else None, fim, add_special_tokens)
            for index, prompt in enumerate(prompts)
        ]

    if sum(map(len, prompts)) + len(suffix or "") <= _INLINE_CHARACTERS:
        return encode()
    return await asyncio.to_thread(encode)


def filling_in(model: ServedModel) -> ServedModel:
    """The model for a request with `suffix`: any special token ends the middle.

    Models end it with another token each (end of text, padding, the next file), and none of them is text. A tokenizer
    with hundreds of special tokens has most of them in reserve; those of filling in go first.
    """
    tokenizer = model.tokenizer
    named = (tokenizer.token_id(token) for token in (tokenizer.eos_token, *(model.fim or ())) if token)
    known = [token_id for token_id in named if token_id is not None]
    ends = dict.fromkeys([*model.end_ids, *known, *sorted(tokenizer.special_ids)])
    return replace(model, end_ids=tuple(ends)[: max(_MOST_END_IDS, len(model.end_ids))])


def _encoded(
    model: ServedModel,
    prompt: str | list[int],
    param: str,
    suffix: str | None,
    fim: tuple[int, int, int] | None,
    add_special_tokens: bool,
) -> CompletionPrompt:
    tokenizer = model.tokenizer
    if isinstance(prompt, str):
        text = prompt
        ids = tokenizer.encode(prompt, add_special_tokens=add_special_tokens and fim is None)
    else:
        _check_ids(model, prompt, param)
        text = tokenizer.decode(prompt, skip_special_tokens=False)
        ids = prompt
    if fim is not None and suffix is not None:
        before, between, after = fim
        start = _beginning(model) if add_special_tokens and isinstance(prompt, str) else []
        ids = [*start, before, *ids, between, *tokenizer.encode(suffix), after]
    if not ids:
        raise invalid_request(f"Invalid '{param}': it has no tokens.", param, "invalid_value")
    return CompletionPrompt(ids, text)


def _check_ids(model: ServedModel, ids: list[int], param: str) -> None:
    if ids and max(ids) >= model.vocab_size:
        raise invalid_request(
            f"Invalid '{param}': {max(ids)} is no token of this model, which has {model.vocab_size} tokens.",
            param,
            "invalid_value",
        )


def _fim_ids(model: ServedModel) -> tuple[int, int, int]:
    found = [model.tokenizer.token_id(token) for token in model.fim or ()]
    known = [token_id for token_id in found if token_id is not None]
    if len(known) != 3:
        raise invalid_request(
            f"The model `{model.id}` does not support `suffix`: it has no tokens for filling in the middle. "
            f"Leave it out, or use a model that has them.",
            "suffix",
            "unsupported_parameter",
        )
    return known[0], known[1], known[2]


def _beginning(model: ServedModel) -> list[int]:
    """The beginning-of-text token, if the tokenizer puts it before every text."""
    bos = model.tokenizer.token_id(model.tokenizer.bos_token) if model.tokenizer.bos_token else None
    return [token_id for token_id in model.tokenizer.encode("", add_special_tokens=True) if token_id == bos]


def _start_of_document(model: ServedModel) -> int:
    tokenizer = model.tokenizer
    for token in (tokenizer.bos_token, tokenizer.eos_token):
        token_id = tokenizer.token_id(token) if token else None
        if token_id is not None:
            return token_id
    raise invalid_request(
        f"The model `{model.id}` has no token that begins a document: send a 'prompt'.",
        "prompt",
        "missing_required_parameter",
    )


def _param(index: int, single: bool) -> str:
    return "prompt" if single else f"prompt[{index}]"
