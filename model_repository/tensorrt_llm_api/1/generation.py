"""One request and its answers so far, as TensorRT-LLM's LLM API delivers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .extras import Extras
from .request import Request
from .word_lists import StopWords

STOP, LENGTH, CANCELLED = "stop", "length", "cancelled"

Alternatives = tuple[tuple[int, float], ...]  # (token id, log probability), likeliest first


class EngineFault(Exception):
    """What the LLM delivers is not what was asked of it; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token of an answer; `log_prob` and `alternatives` on demand."""

    id: int
    log_prob: float = 0.0
    alternatives: Alternatives = ()


class AnswerSequence:
    """One of the answers to a prompt.

    pending         tokens that no response has held yet
    reason          why it ended; None while it goes on
    delivered       tokens that a response has held
    total_log_prob  of those
    """

    def __init__(self, index: int, request: Request) -> None:
        self.index = index
        self.reason: str | None = None
        self.pending: list[Token] = []
        self.told = False  # whether a response has held the reason
        self.delivered = 0
        self.total_log_prob = 0.0
        self.answer: list[int] = []
        self._request = request
        self._stop_words = StopWords(request.stop_words)

    def advance(self, output: Any, last: bool) -> None:
        """Takes the tokens of an LLM API `CompletionOutput` that are new since the last call.

        The object grows in place, and its own notion of what is new goes back to the last response of any sequence;
        so what was taken is counted here. Tokens after one that ends the answer are dropped.

        Args:
            last: nothing more will come.
        """
        if self.reason is not None:
            return
        start = len(self.answer)
        ids = output.token_ids[start:]
        scored = self._request.log_probs or self._request.alternatives > 0
        scores: Sequence[Any] = (output.logprobs or [])[start:] if scored else ()
        if scored and len(scores) < len(ids):
            if last:
                raise EngineFault(f"log probabilities of {len(ids) - len(scores)} tokens are missing")
            ids = ids[: len(scores)]  # the rest is taken together with its log probabilities
        for position, token in enumerate(ids):
            made = Token(int(token))
            if scored:
                made = scored_token(int(token), scores[position], self._request.alternatives)
            self.pending.append(made)
            self.answer.append(made.id)
            self.reason = self._ending(made.id)
            if self.reason is not None:
                return
        if (last or output.finish_reason) and len(self.answer) == len(output.token_ids):
            self.reason = _named(output.finish_reason)

    def take(self) -> list[Token]:
        """What is pending; it counts as delivered from now on. A request for no tokens gets none: the LLM API writes
        one at least."""
        tokens, self.pending = self.pending, []
        return tokens if self._request.output_length else []

    def _ending(self, token: int) -> str | None:
        request = self._request
        if token in request.end_ids:
            return STOP
        if len(self.answer) >= request.min_tokens and (token in request.stop_ids or self._stop_words.end(self.answer)):
            return STOP
        return LENGTH if len(self.answer) >= max(1, request.output_length) else None


def _named(reason: str | None) -> str:
    """The contract's name for a `finish_reason` of the LLM API: stop, length, timeout, cancelled, or none."""
    if reason in (STOP, LENGTH):
        return reason
    return CANCELLED if reason in (CANCELLED, "timeout") else STOP


def scored_token(token: int, score: Any, count: int) -> Token:
    """A token with its log probability and the `count` likeliest at its place.

    Args:
        score: one element of the LLM API's `logprobs`: a number (of the token alone), or Logprob objects by token id;
            the token itself is among them, be it among the likeliest or not.
    """
    if not isinstance(score, dict):
        if count:
            raise EngineFault("its sampler gives the log probability of the chosen token alone")
        return Token(token, float(score))
    if token not in score:
        raise EngineFault(f"the log probability of token {token} is missing")
    return Token(token, _value(score[token]), likeliest(score, count))


def likeliest(score: dict[int, Any], count: int) -> Alternatives:
    """The `count` likeliest of Logprob objects by token id."""
    pairs = sorted(((int(token), _value(entry)) for token, entry in score.items()), key=lambda pair: -pair[1])
    return tuple(pairs[:count])


def _value(entry: Any) -> float:
    return float(getattr(entry, "logprob", entry))


class Generation:
    """One request in flight. `reply` is its way back; `result` the LLM API's object, once there is one.

    Args:
        media: encoded files, until they are read.
    """

    def __init__(self, request: Request, extras: Extras, media: list[bytes] | None = None) -> None:
        self.request = request
        self.extras = extras
        self.media = media or []
        self.reply: Any = None
        self.result: Any = None
        self.task: Any = None
        self.cancelled = False
        self.aborted = False
        self.prompt_length = len(request.prompt)
        self.cached_tokens: int | None = None
        self.prompt_scores: list[Token] | None = None
        self.sequences = [AnswerSequence(index, request) for index in range(extras.sequences)]

    @property
    def watched(self) -> bool:
        """Whether an end is looked for here, token by token: the LLM API knows no stop words of several tokens, and
        does not wait for `min_tokens` with the others."""
        request = self.request
        late = request.min_tokens > 0 and (request.stop_ids or request.stop_words)
        return bool(late) or any(len(word) > 1 for word in request.stop_words)

    @property
    def ended(self) -> bool:
        return all(sequence.reason is not None for sequence in self.sequences)
