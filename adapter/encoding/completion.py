"""Text completions in one piece: the fold of the events that would have been streamed."""

from __future__ import annotations

import math
from typing import Any

import orjson

from adapter.encoding.completion_pieces import CompletionForm, CompletionPieces, Piece
from adapter.encoding.usage import total_usage
from adapter.generation.events import Event, Finish, TextDelta, TokenLogprob
from adapter.triton.model import ServedModel


class CompletionFold:
    """Collects the events of one request's answers into a `text_completion` object.

    Args:
        completion_id: `cmpl-...`.
        created: Unix seconds.
        prompts: how many there are.
        candidates: generated answers per prompt; the best `form.choices` of them are returned, best first, if these
            are fewer.
    """

    def __init__(
        self,
        model: ServedModel,
        completion_id: str,
        created: int,
        form: CompletionForm,
        *,
        prompts: int = 1,
        candidates: int = 1,
    ) -> None:
        self._model = model
        self._id = completion_id
        self._created = created
        self._form = form
        self._candidates = [
            [_Candidate(model, form, form.echo[prompt] if form.echo is not None else None) for _ in range(candidates)]
            for prompt in range(prompts)
        ]

    def add(self, index: int, item: Event) -> None:
        """`index` counts the candidates of all prompts, those of one prompt side by side."""
        prompt, candidate = divmod(index, len(self._candidates[0]))
        self._candidates[prompt][candidate].add(item)

    def body(self, prompt_tokens: int) -> bytes:
        """The JSON object, when every answer is complete. Its usage counts the answers that are not returned too."""
        returned = [candidate for group in self._candidates for candidate in self._best(group)]
        finishes = [candidate.finish for group in self._candidates for candidate in group if candidate.finish]
        return orjson.dumps(
            {
                "id": self._id,
                "object": "text_completion",
                "created": self._created,
                "model": self._model.id,
                "system_fingerprint": self._model.fingerprint,
                "choices": [candidate.choice(index) for index, candidate in enumerate(returned)],
                "usage": total_usage(prompt_tokens, finishes, prompts=len(self._candidates)),
            }
        )

    def _best(self, group: list[_Candidate]) -> list[_Candidate]:
        if len(group) == self._form.choices:
            return group
        return sorted(group, key=lambda candidate: candidate.mean_logprob, reverse=True)[: self._form.choices]


class _Candidate:
    """What has come of one answer."""

    def __init__(self, model: ServedModel, form: CompletionForm, echo: str | None) -> None:
        self._pieces = CompletionPieces(model.tokenizer, form, echo)
        self._text: list[str] = []
        self._logprobs: dict[str, list[Any]] | None = None
        self._scores: list[float] = []
        self.finish: Finish | None = None
        self._take(self._pieces.start())

    def add(self, item: Event) -> None:
        if isinstance(item, (TextDelta, Finish)):
            self._scores += map(_score, item.logprobs or ())
        if isinstance(item, Finish):
            self.finish = item
        self._take(self._pieces.push(item))

    @property
    def mean_logprob(self) -> float:
        """Per token, the end token included. An answer of no tokens is as likely as can be."""
        return math.fsum(self._scores) / len(self._scores) if self._scores else 0.0

    def choice(self, index: int) -> dict[str, Any]:
        assert self.finish is not None
        return {
            "index": index,
            "text": "".join(self._text),
            "logprobs": self._logprobs,
            "finish_reason": self.finish.reason,
        }

    def _take(self, piece: Piece | None) -> None:
        if piece is None:
            return
        self._text.append(piece.text)
        if piece.logprobs is None:
            return
        if self._logprobs is None:
            self._logprobs = piece.logprobs
            return
        for name, values in piece.logprobs.items():
            self._logprobs[name] += values


def _score(item: TokenLogprob) -> float:
    return item.logprob if not math.isnan(item.logprob) else -math.inf
