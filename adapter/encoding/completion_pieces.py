"""One choice of a text completion in pieces, of which both wire forms are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adapter.encoding.legacy_logprobs import LegacyLogprobs
from adapter.generation.events import Event, Finish, PromptLogprobs, TextDelta, TokenLogprob
from tokentext import TextTokenizer


@dataclass(frozen=True)
class CompletionForm:
    """How the answers of one request are written.

    echo: the texts of the prompts, if they are a part of the answers' texts.
    logprobs: whether the answers have log probabilities.
    scores_prompt: whether those of the prompt are among them.
    choices: answers per prompt.
    """

    echo: tuple[str, ...] | None = None
    logprobs: bool = False
    scores_prompt: bool = False
    choices: int = 1


@dataclass(frozen=True, slots=True)
class Piece:
    """`logprobs` is the object that the API has, of this piece; its lists, joined over the pieces, are the whole's."""

    text: str
    logprobs: dict[str, Any] | None = None
    finish_reason: str | None = None


class CompletionPieces:
    """Makes the pieces of one choice: first `start`, then one per event.

    Args:
        echo: the prompt's text, if it is a part of the answer's.
    """

    def __init__(self, tokenizer: TextTokenizer, form: CompletionForm, echo: str | None) -> None:
        self._tokenizer = tokenizer
        self._form = form
        self._echo = echo
        self._logprobs: LegacyLogprobs | None = None
        if form.logprobs:
            self._logprobs = LegacyLogprobs(tokenizer, offset=len(echo or ""), continues=True)

    def start(self) -> Piece | None:
        """The prompt, unless its log probabilities are to come with it."""
        if not self._echo or self._form.scores_prompt:
            return None
        return Piece(self._echo, None if self._logprobs is None else self._logprobs.encode([]))

    def push(self, item: Event) -> Piece | None:
        """The piece of an event; None for one that shows nothing."""
        if type(item) is TextDelta:
            return Piece(item.text, self._encoded(item.logprobs))
        if type(item) is PromptLogprobs:
            return Piece(self._echo or "", self._of_prompt(item.logprobs))
        if type(item) is Finish:
            return Piece("", self._encoded(item.logprobs), item.reason)
        return None

    def _encoded(self, logprobs: list[TokenLogprob] | None) -> dict[str, Any] | None:
        """Without logprobs asked for they may be there all the same, to tell which answer is the best."""
        return None if self._logprobs is None else self._logprobs.encode(logprobs or [])

    def _of_prompt(self, logprobs: list[TokenLogprob]) -> dict[str, Any]:
        """A prompt shows its special tokens, but not those that the tokenizer has put before it."""
        ids = [item.token_id for item in logprobs]
        before = len(self._echo or "") - len(self._tokenizer.decode(ids, skip_special_tokens=False))
        legacy = LegacyLogprobs(self._tokenizer, offset=before, skip_special_tokens=False)
        found = legacy.encode(logprobs, first_unknown=True)
        found["text_offset"] = [max(0, offset) for offset in found["text_offset"]]
        return found
