"""The fields of SamplingParams and GuidedDecodingParams that matter here, of release 1.2.1 and of 1.3."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from .release import RELEASE


@dataclass(slots=True, kw_only=True)
class GuidedDecodingParams:
    json: Any = None
    regex: str | None = None
    grammar: str | None = None
    json_object: bool = False
    structural_tag: str | None = None

    def _validate(self) -> None:
        if sum(bool(getattr(self, item.name)) for item in fields(self)) > 1:
            raise ValueError("Only one guide can be used for a request")


@dataclass(slots=True, kw_only=True)
class _Common:
    end_id: int | None = None
    pad_id: int | None = None
    max_tokens: int = 32
    bad: Any = None
    bad_token_ids: list[int] | None = None
    _bad_word_ids: list[list[int]] | None = field(default=None, init=False, repr=False)
    stop: Any = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    embedding_bias: Any = None
    n: int = 1
    best_of: int | None = None
    use_beam_search: bool = False
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    temperature: float | None = None
    min_tokens: int | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    min_p: float | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    exclude_input_from_output: bool = True
    return_perf_metrics: bool = False
    guided_decoding: GuidedDecodingParams | None = None
    ignore_eos: bool = False
    detokenize: bool = True

    def __post_init__(self) -> None:
        self.best_of = self.best_of or self.n
        greedy = self.top_k in (None, 1) and self.top_p in (None, 0.0)
        if self.best_of > 1 and greedy:
            raise ValueError("Greedy decoding in the LLM API does not allow multiple returns.")
        if self.guided_decoding is not None:
            self.guided_decoding._validate()

    def _get_bad_words(self) -> list[list[int]]:
        words = [[token] for token in self.bad_token_ids or []]
        if self.bad is None:
            return words
        if self._bad_word_ids is None:
            raise RuntimeError("SamplingParams.bad is not processed by tokenizer, please call the setup method.")
        return words + self._bad_word_ids


if RELEASE.startswith("1.2"):

    @dataclass(slots=True, kw_only=True)
    class SamplingParams(_Common):
        pass

else:

    @dataclass(slots=True, kw_only=True)
    class SamplingParams(_Common):  # type: ignore[no-redef]
        prompt_ignore_length: int | None = None
        logprobs_simple_format: bool = False
        prompt_logprobs_simple_format: bool = False
