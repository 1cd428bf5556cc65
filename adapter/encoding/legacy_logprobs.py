"""The `logprobs` object of text completions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adapter.generation.events import TokenLogprob
from tokentext import IncrementalDetokenizer, TextTokenizer

# OpenAI's stand-in for the logarithm of a probability of zero, which JSON cannot hold.
_LOWEST = -9999.0


class LegacyLogprobs:
    """Makes the object of each piece of one choice; the pieces' lists laid end to end are those of the whole answer.

    Args:
        offset: characters of the returned text that stand before the first token.
        skip_special_tokens: whether special tokens add nothing to the returned text.
        continues: the tokens go on where a text has ended.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        *,
        offset: int = 0,
        skip_special_tokens: bool = True,
        continues: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._offset = offset
        self._detokenizer = IncrementalDetokenizer(
            tokenizer, skip_special_tokens=skip_special_tokens, continues=continues
        )

    def encode(self, logprobs: Iterable[TokenLogprob], *, first_unknown: bool = False) -> dict[str, Any]:
        """The object.

        Args:
            first_unknown: the first token begins the prompt: nothing comes before it, and its entries are null.
        """
        tokens: list[str] = []
        values: list[float | None] = []
        tops: list[dict[str, float] | None] = []
        offsets: list[int] = []
        for item in logprobs:
            token = token_text(self._tokenizer, item.token_id)
            unknown = first_unknown and not tokens
            tokens.append(token)
            values.append(None if unknown else _finite(item.logprob))
            tops.append(None if unknown else self._top(token, item))
            offsets.append(self._offset)
            self._offset += len(self._detokenizer.push([item.token_id]))
        return {"tokens": tokens, "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}

    def _top(self, token: str, item: TokenLogprob) -> dict[str, float]:
        """Tokens of one text are one entry, that of the likeliest; the chosen token is always there."""
        top: dict[str, float] = {}
        for token_id, value in item.top:
            top.setdefault(token_text(self._tokenizer, token_id), _finite(value))
        top.setdefault(token, _finite(item.logprob))
        return top


def token_text(tokenizer: TextTokenizer, token_id: int) -> str:
    """A token's text; one that is a part of a character in OpenAI's form, `bytes:\\xe2\\x80`."""
    data = tokenizer.token_bytes(token_id)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _finite(value: float) -> float:
    return value if value > _LOWEST else _LOWEST  # not a number is no better
