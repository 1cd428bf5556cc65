"""One answer: token ids in, text out, ended by an end token, a stop string or the length."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from adapter.generation.events import TokenLogprob
from tokentext import IncrementalDetokenizer, StopMatcher, TextTokenizer


class Answer:
    """Turns an engine's tokens into text that may be shown.

    Args:
        stop: strings before which the text ends.
        end_ids: tokens that end the answer; they are no part of its text.
        max_tokens: how many tokens the engine may generate.
        logprobs: whether log probabilities are kept and handed out with the text they belong to.
        visible: special tokens that are shown, as a parser looks for them.
        continues: the answer goes on where the prompt's text ends.
    """

    __slots__ = (
        "_detokenizer",
        "_emitted",
        "_end_ids",
        "_matcher",
        "_max_tokens",
        "_seen",
        "_waiting",
        "completion_tokens",
        "finish_reason",
    )

    def __init__(
        self,
        tokenizer: TextTokenizer,
        *,
        stop: Sequence[str],
        end_ids: Sequence[int],
        max_tokens: int,
        logprobs: bool,
        visible: frozenset[int] = frozenset(),
        continues: bool = False,
    ) -> None:
        self._detokenizer = IncrementalDetokenizer(tokenizer, visible=visible, continues=continues)
        self._matcher = StopMatcher(stop) if stop else None
        self._end_ids = frozenset(end_ids)
        self._max_tokens = max_tokens
        # Log probabilities of tokens of which nothing is out yet, each with where in the text its token begins.
        self._waiting: deque[tuple[int, TokenLogprob]] | None = deque() if logprobs else None
        self._seen = 0  # characters decoded
        self._emitted = 0  # characters handed out
        self.completion_tokens = 0
        self.finish_reason: str | None = None

    @property
    def stopped(self) -> bool:
        """Whether a stop string was hit: the engine does not know and has to be told."""
        return self._matcher is not None and self._matcher.hit is not None

    def push(self, ids: list[int], logprobs: Sequence[TokenLogprob] | None = None) -> str:
        """Text that is certain after these tokens; sets `finish_reason` once the answer is complete.

        Tokens after the end are not looked at, and not counted. How the tokens are cut into calls makes no difference
        to the answer.

        Args:
            logprobs: one per token, if they are kept.
        """
        if self.finish_reason is not None:
            return ""
        if self._matcher is not None and len(ids) > 1:
            return self._push_each(ids, logprobs)  # the one that completes a stop string is the last that counts
        left = self._max_tokens - self.completion_tokens
        if len(ids) > left:
            ids = ids[:left]
        if not self._end_ids.isdisjoint(ids):
            end = next(index for index, token in enumerate(ids) if token in self._end_ids)
            self.completion_tokens += end + 1
            text = self._take(ids[:end], logprobs) + self.finish("stop")
            if self._waiting is not None and logprobs:
                self._waiting.append((self._seen, logprobs[end]))
            return text
        self.completion_tokens += len(ids)
        text = self._take(ids, logprobs)
        if self.finish_reason is None and self.completion_tokens >= self._max_tokens:
            return text + self.finish("length")
        return text

    def finish(self, reason: str) -> str:
        """The text held back, at the end of the answer; a stop string that it makes certain decides the reason."""
        if self.finish_reason is not None:
            return ""
        rest = self._detokenizer.flush()
        self._seen += len(rest)
        if self._matcher is not None:
            shown, hit = self._matcher.push(rest)
            rest = shown if hit is not None else shown + self._matcher.flush()
            if self._matcher.hit is not None:
                reason = "stop"
        self.finish_reason = reason
        self._emitted += len(rest)
        return rest

    def logprobs(self) -> list[TokenLogprob] | None:
        """Those of the tokens whose text has begun to be handed out since the last call; None unless they are kept.

        A token without text of its own goes with the text after it. So over the whole answer exactly those come out of
        which a part is shown, or which lie before such a one.
        """
        waiting = self._waiting
        if waiting is None:
            return None
        ready: list[TokenLogprob] = []
        while waiting and waiting[0][0] < self._emitted:
            ready.append(waiting.popleft()[1])
        return ready

    def logprobs_within(self, start: int, end: int) -> list[TokenLogprob] | None:
        """Those of the tokens of which some text lies in [start, end) of the text; those before are dropped.

        To be asked with growing places; None unless they are kept.
        """
        waiting = self._waiting
        if waiting is None:
            return None
        ready: list[TokenLogprob] = []
        while waiting and waiting[0][0] < end:
            token_end = waiting[1][0] if len(waiting) > 1 else self._seen
            logprob = waiting.popleft()[1]
            if token_end > start:
                ready.append(logprob)
        return ready

    def unshown_logprobs(self) -> list[TokenLogprob] | None:
        """At the end: those of tokens of which no text was handed out, such as the end token."""
        return None if self._waiting is None else [logprob for _, logprob in self._waiting]

    def _push_each(self, ids: list[int], logprobs: Sequence[TokenLogprob] | None) -> str:
        pieces = []
        for index, token in enumerate(ids):
            pieces.append(self.push([token], logprobs[index : index + 1] if logprobs else None))
            if self.finish_reason is not None:
                break
        return "".join(pieces)

    def _take(self, ids: list[int], logprobs: Sequence[TokenLogprob] | None) -> str:
        if self._waiting is None:
            text = self._detokenizer.push(ids)
        else:
            text = self._take_each(ids, logprobs or (), self._waiting)
        if self._matcher is None:
            self._emitted += len(text)
            return text
        text, hit = self._matcher.push(text)
        self._emitted += len(text)
        if hit is not None:
            self.finish_reason = "stop"
        return text

    def _take_each(
        self, ids: list[int], logprobs: Sequence[TokenLogprob], waiting: deque[tuple[int, TokenLogprob]]
    ) -> str:
        pieces = []
        for token, logprob in zip(ids, logprobs[: len(ids)], strict=True):
            waiting.append((self._seen, logprob))
            piece = self._detokenizer.push([token])
            self._seen += len(piece)
            pieces.append(piece)
        return "".join(pieces)
