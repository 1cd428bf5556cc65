"""The body of `POST /v1/completions`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from adapter.errors import invalid_request
from adapter.generation.sampling import Sampling
from adapter.schema import sampling_fields as fields
from adapter.schema.body import RequestModel, check
from adapter.schema.logit_bias import LogitBias
from adapter.schema.stream_options import StreamOptions
from adapter.schema.text_inputs import check_text_inputs, text_inputs_schema

MOST_PROMPTS = 128
_DEFAULT_MAX_TOKENS = 16  # OpenAI's

_PROMPT = {"anyOf": [*text_inputs_schema(MOST_PROMPTS, empty=True), {"type": "null"}]}


class CompletionRequest(RequestModel):
    """Fields as OpenAI's API defines them, and its defaults. The last group are extensions.

    `prompt`: a text, texts, the token ids of a text, those of several, or null for the beginning of a document.
    pydantic hands it through as it is: `parse_completion_request` checks it, without an object for every id.
    """

    model: str
    prompt: Annotated[Any, WithJsonSchema(_PROMPT)] = None
    suffix: str | None = None
    max_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    temperature: fields.Temperature | None = None
    top_p: fields.Fraction | None = None
    n: fields.Choices | None = None
    best_of: fields.Choices | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stop: fields.Stop | None = None
    seed: fields.Seed | None = None
    presence_penalty: fields.Penalty | None = None
    frequency_penalty: fields.Penalty | None = None
    logit_bias: LogitBias = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    top_k: fields.TopK | None = None
    min_p: fields.Fraction | None = None
    repetition_penalty: fields.RepetitionPenalty | None = None
    min_tokens: fields.MinTokens | None = None
    ignore_eos: bool | None = None
    bad_words: fields.BadWords | None = None
    add_special_tokens: bool | None = None

    @property
    def single(self) -> bool:
        """Whether `prompt` is one text or the token ids of one, not a list of prompts."""
        return not isinstance(self.prompt, list) or isinstance(self.prompt[0], int)

    def prompts(self) -> list[str] | list[list[int]] | None:
        """One entry per prompt; None: the beginning of a document."""
        if self.prompt is None:
            return None
        return [self.prompt] if self.single else self.prompt

    @property
    def choices(self) -> int:
        """Answers per prompt that are returned."""
        return self.n or 1

    @property
    def candidates(self) -> int:
        """Answers per prompt that are generated."""
        return self.best_of or self.choices

    @property
    def output_tokens(self) -> int:
        return _DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def scores_prompt(self) -> bool:
        """Whether the log probabilities of the prompt's tokens are part of the answer."""
        return bool(self.echo) and self.logprobs is not None


def parse_completion_request(body: dict[str, Any]) -> CompletionRequest:
    """Raises APIError, 400, naming the field."""
    request = check(CompletionRequest, body)
    if request.prompt is not None:
        check_text_inputs(request.prompt, "prompt", MOST_PROMPTS, empty=True)
    if request.stream_options is not None and not request.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise invalid_request(message, "stream_options")
    if request.best_of is not None and request.best_of < request.choices:
        message = f"'best_of' ({request.best_of}) has to be at least 'n' ({request.choices})."
        raise invalid_request(message, "best_of", "invalid_value")
    if request.stream and request.candidates > request.choices:
        message = "'best_of' cannot be streamed: the best answer is known when all are complete. Leave out 'stream'."
        raise invalid_request(message, "best_of", "invalid_parameter_combination")
    if request.suffix is not None and request.scores_prompt:
        message = (
            "'suffix' cannot be given with 'echo' and 'logprobs' together: the model reads the suffix before it writes."
        )
        raise invalid_request(message, "suffix", "invalid_parameter_combination")
    prompts = request.prompts() or [""]
    total = len(prompts) * request.candidates
    if total > fields.MOST_CHOICES:
        param = "n" if request.best_of is None else "best_of"
        message = (
            f"Invalid '{param}': {len(prompts)} prompts with {request.candidates} answers each make {total} answers, "
            f"and one request may have {fields.MOST_CHOICES}."
        )
        raise invalid_request(message, param, "integer_above_max_value")
    return request


def sampling_of(request: CompletionRequest) -> Sampling:
    """The request's wishes for the engine; null means the default."""
    return Sampling(
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        max_tokens=request.output_tokens,
        stop=fields.strings_of(request.stop),
        seed=request.seed,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        logit_bias=request.logit_bias or {},
        # Which of several answers is the best is seen by them too.
        logprobs=request.logprobs is not None or request.candidates > request.choices,
        top_logprobs=request.logprobs or 0,
        top_k=max(request.top_k or 0, 0),
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty,
        min_tokens=request.min_tokens,
        ignore_eos=bool(request.ignore_eos),
        bad_words=tuple(request.bad_words or ()),
        prompt_logprobs=request.scores_prompt,
        top_logprobs_param="logprobs",
    )
