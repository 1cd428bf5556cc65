"""Which requests are answered in rounds of draft and check, and what each round asks of the two engines.

A round: the draft model writes up to `max_draft_len` tokens after what there is; the target is sent the same with these
as `draft_input_ids`, and answers the ones that it would have chosen itself, and one more. A request with draft tokens
ends after that one step in TensorRT-LLM, whatever its `request_output_len`; one without goes on to its end.

Every round is a new request to the target, for which all tokens so far are prompt. So what an engine remembers of its
own answer (penalties, guides, decay of top-p, the least number of tokens) is not there in the next round: requests with
such an input are answered by the target alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .word_lists import StopWords, Word, WordListError, read_word_list

Tensors = Mapping[str, np.ndarray]

# Inputs that mean the same in every round.
_SAME = frozenset(
    [
        *("input_ids", "input_lengths", "request_output_len", "end_id", "pad_id", "stop_words_list", "bad_words_list"),
        *("embedding_bias", "temperature", "runtime_top_k", "runtime_top_p", "seed", "streaming"),
        *("return_num_input_tokens", "return_num_output_tokens", "return_perf_metrics"),
    ]
)
# Inputs that change nothing at this value.
_NEUTRAL: dict[str, float] = {
    "exclude_input_in_output": 1,
    "num_return_sequences": 1,
    "beam_width": 1,
    "repetition_penalty": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "min_tokens": 0,
    "return_log_probs": 0,
    "return_context_logits": 0,
    "return_generation_logits": 0,
}
# What the draft model is told of it. It always writes its likeliest tokens: a draft token counts if the target chooses
# the same, so a draw of its own would only be a worse guess. `embedding_bias` is as long as the target's vocabulary.
_FOR_DRAFT = ("end_id", "pad_id", "stop_words_list", "bad_words_list")
_FOR_TARGET = (*_FOR_DRAFT, "embedding_bias", "temperature", "runtime_top_k", "runtime_top_p", "return_perf_metrics")
_SEED_STEP = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: multiples of it are far apart


@dataclass(frozen=True)
class Limits:
    """Of the model: tokens of prompt and answer together, length of the logits, tokens of a draft."""

    context_length: int
    vocab_size: int
    max_draft_len: int


@dataclass
class Drafted:
    """A request that is answered in rounds, and its answer so far.

    Args:
        tensors: the inputs as they came. prompt: token ids. length: tokens that the answer may have.
        end_id: -1: none. seed: None: none was sent.
        answer: accepted tokens. ended: by a token, a stop word or the length.
        drafted, accepted: tokens of all drafts, and those that the target chose too.
    """

    tensors: Tensors
    prompt: list[int]
    length: int
    end_id: int
    stop_words: StopWords
    seed: int | None
    vocab_size: int
    max_draft_len: int
    answer: list[int] = field(default_factory=list)
    ended: bool = False
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0

    def flag(self, name: str) -> bool:
        return name in self.tensors and bool(self.tensors[name].any())

    def draft_request(self) -> dict[str, np.ndarray] | None:
        """Inputs of the draft model for the next round; None where no token of a draft could be of use."""
        # The target adds one of its own.
        count = min(self.max_draft_len, self.length - len(self.answer) - 1)
        if count < 1:
            return None
        return self._request(count, _FOR_DRAFT, {"runtime_top_k": np.array([[1]], dtype=np.int32)})

    def target_request(self, draft: Sequence[int]) -> dict[str, np.ndarray]:
        """Inputs of the target for this round."""
        more: dict[str, np.ndarray] = {}
        left = self.length - len(self.answer)
        if draft:
            more["draft_input_ids"] = np.array([draft], dtype=np.int32)
        if self.seed is not None or self.rounds:
            # The engine begins to draw anew in each round: with one seed all of them would draw alike.
            seed = ((self.seed or 0) + self.rounds * _SEED_STEP) % (1 << 64)
            more["seed"] = np.array([[seed]], dtype=np.uint64)
        return self._request(min(left, (len(draft) or self.max_draft_len) + 1), _FOR_TARGET, more)

    def _request(self, length: int, kept: Sequence[str], more: Tensors) -> dict[str, np.ndarray]:
        tokens = [*self.prompt, *self.answer]
        return {
            "input_ids": np.array([tokens], dtype=np.int32),
            "input_lengths": np.array([[len(tokens)]], dtype=np.int32),
            "request_output_len": np.array([[length]], dtype=np.int32),
            "exclude_input_in_output": np.array([[True]]),
            **{name: self.tensors[name] for name in kept if name in self.tensors},
            **more,
        }

    def usable(self, draft: Sequence[int]) -> list[int]:
        """Of a draft, what the target takes: up to a token that only a longer vocabulary has."""
        count = next((place for place, token in enumerate(draft) if not 0 <= token < self.vocab_size), len(draft))
        return list(draft[:count])

    def take(self, draft: Sequence[int], checked: Sequence[int]) -> list[int]:
        """The new tokens of the answer, up to its end, of what the target made of a draft."""
        self.rounds += 1
        self.drafted += len(draft)
        agreed = 0
        for written, chosen in zip(draft, checked, strict=False):
            if written != chosen:
                break
            agreed += 1
        self.accepted += agreed
        new: list[int] = []
        tokens = [*self.prompt, *self.answer]
        for token in checked:
            new.append(token)
            tokens.append(token)
            # As in TensorRT-LLM, a stop word may begin in the prompt.
            if token == self.end_id or self.stop_words.end(tokens) or len(self.answer) + len(new) >= self.length:
                self.ended = True
                break
        self.answer += new
        self.ended = self.ended or not new  # the target has nothing more to say
        return new


def read_drafted(tensors: Tensors, limits: Limits) -> Drafted | None:
    """The request, if it can be answered in rounds; None: the target alone answers it, or says what is wrong with it.

    Args:
        tensors: inputs with a leading batch dimension of 1.
    """
    for name, tensor in tensors.items():
        if name in _SAME:
            continue
        if name not in _NEUTRAL or tensor.size != 1 or float(tensor.reshape(-1)[0]) != _NEUTRAL[name]:
            return None
    try:
        ids, given = tensors["input_ids"].reshape(-1), _number(tensors, "input_lengths", 0)
        prompt = ids[:given].tolist() if 0 <= given <= len(ids) else []
        room = limits.context_length - len(prompt)
        length = min(_number(tensors, "request_output_len", 0), room)
        words: list[Word] = []
        if "stop_words_list" in tensors:
            words = read_word_list(tensors["stop_words_list"][0], limits.vocab_size)
        end_id = _number(tensors, "end_id", -1)
        seed = _number(tensors, "seed", 0) if "seed" in tensors else None
    except (KeyError, IndexError, ValueError, WordListError):
        return None
    if not prompt or length < 1:
        return None
    return Drafted(tensors, prompt, length, end_id, StopWords(words), seed, limits.vocab_size, limits.max_draft_len)


def _number(tensors: Tensors, name: str, default: int) -> int:
    return int(tensors[name].reshape(-1)[0]) if name in tensors else default
