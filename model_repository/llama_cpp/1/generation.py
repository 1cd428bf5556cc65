"""One answer in the making: from logits to tokens until it ends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .guides import Guide, GuideError
from .multimodal import Part
from .prompt_scores import PromptScores
from .request import Request
from .sampling import Sampler, log_probabilities, top_alternatives
from .word_lists import BadWords, StopWords

STOP, LENGTH, CANCELLED = "stop", "length", "cancelled"


class GenerationError(Exception):
    """The answer cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the answer; `log_prob` and `alternatives` (ids int32 [k], log probabilities FP32 [k]) on demand."""

    id: int
    log_prob: float = 0.0
    alternatives: tuple[np.ndarray, np.ndarray] | None = None


class Generation:
    """One request and the answer so far.

    `reply` is what the receiver of the tokens needs to deliver them; it is not looked at here. `guide` is set, at its
    beginning, before the engine gets a generation whose request has one. `media_pieces` are what is left to compute of
    a prompt with media, None without; `prompt_length` counts the prompt's tokens, those that media take among them.

    Args:
        media: encoded files, until they are read.
    """

    def __init__(self, request: Request, vocab_size: int, media: list[bytes] | None = None) -> None:
        self.request = request
        self.media = media or []
        self.reply: Any = None
        self.guide: Guide | None = None
        self.answer: list[int] = []
        self.media_pieces: deque[Part] | None = None
        self.prompt_length = len(request.prompt)
        self.cached_tokens = 0
        self.cancelled = False
        self.prompt_scores: PromptScores | None = None
        if request.prompt_log_probs:
            self.prompt_scores = PromptScores(request.prompt, request.alternatives)
        self._sampler = Sampler(request.sampling, request.bias, request.prompt, vocab_size)
        self._stop_words = StopWords(request.stop_words)
        self._bad_words = BadWords(request.bad_words)
        self._too_early = sorted(request.end_ids | request.stop_ids) if request.min_tokens else []

    def set_media(self, pieces: deque[Part], most_output: int) -> None:
        """The prompt as it is to be computed.

        Args:
            most_output: what the context has left; the answer is not to be longer.
        """
        self.media_pieces = pieces
        self.prompt_length = sum(part.count for part in pieces)
        length = min(self.request.output_length, most_output)
        self.request = replace(self.request, output_length=length, min_tokens=min(self.request.min_tokens, length))

    @property
    def reproducible(self) -> bool:
        """Whether the same request must give the same tokens whatever else runs."""
        return self.request.sampling.seed is not None

    def advance(self, logits: np.ndarray) -> tuple[Token, str | None]:
        """Takes the next token.

        Args:
            logits: FP32 [vocab], overwritten.
        Returns: the token, and why the answer ends with it (`STOP`, `LENGTH`) or None.
        Raises:
            GenerationError: no token is allowed, or the guide gives up.
        """
        try:
            return self._advance(logits)
        except GuideError as error:
            raise GenerationError(f"{error.tensor}: {error}") from None

    def _advance(self, logits: np.ndarray) -> tuple[Token, str | None]:
        request = self.request
        log_probs = log_probabilities(logits) if request.log_probs or request.alternatives else None
        self._sampler.adjust(logits)
        self._bad_words.ban(logits, request.prompt, self.answer)
        if self._too_early and len(self.answer) < request.min_tokens:
            logits[self._too_early] = -np.inf
        if self.guide is not None:
            self.guide.restrict(logits, request.end_ids)
        chosen = self._sampler.choose(logits)
        if chosen < 0:
            raise GenerationError("no token is left: guide, bad words, embedding_bias and min_tokens exclude all")
        self._sampler.accept(chosen)
        self.answer.append(chosen)
        return self._token(chosen, log_probs), self._ending(chosen)

    def _token(self, chosen: int, log_probs: np.ndarray | None) -> Token:
        if log_probs is None:
            return Token(chosen)
        count = self.request.alternatives
        return Token(chosen, float(log_probs[chosen]), top_alternatives(log_probs, count) if count else None)

    def _ending(self, token: int) -> str | None:
        request = self.request
        if token in request.end_ids or token in request.stop_ids:
            return STOP
        if self.guide is not None and self.guide.accept(token):
            return STOP
        if len(self.answer) >= request.min_tokens and self._stop_words.end(self.answer):
            return STOP
        return LENGTH if len(self.answer) >= request.output_length else None
