"""One generation: the engine's stream in, events out."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Sequence

from adapter.errors import APIError, unavailable
from adapter.generation.answer import Answer
from adapter.generation.answer_events import AnswerEvents, ParsedEvents, PlainEvents, Reading
from adapter.generation.events import Event, Finish, PromptLogprobs, TokenLogprob
from adapter.generation.sampling import Sampling, build_request, output_budget, request_fields
from adapter.telemetry.generations import GenerationRecord
from adapter.triton.channel import TritonChannel
from adapter.triton.model import ServedModel
from adapter.triton.stream import EngineStep, EngineStream

logger = logging.getLogger("tritongate.models")

_REASONS = frozenset({"stop", "length"})  # why an engine's answer is complete: docs/model_repository.md
_MOST_REPORTED = 100
_reported: set[tuple[str, str]] = set()  # models, and the other reasons that they gave


class Generation:
    """A generation that is about to run; `events` runs it, once.

    Args:
        request_id: unique; also Triton's id of the request.
        prompt: token ids.
        streaming: whether each token is wanted as it comes. Without it the engine answers in one piece, which costs
            less, unless a stop string has to be looked for on the way.
        timeout: seconds for the whole generation.
        reading: how the model's text is to be read; None: all of it is the answer.
        prompt_param: the request's field that holds the prompt, for errors.
        continues: the answer goes on where the prompt's text ends.

    Raises:
        APIError: 400, the prompt is too long, or the engine lacks what a parameter needs.
    """

    def __init__(
        self,
        channel: TritonChannel,
        model: ServedModel,
        request_id: str,
        prompt: Sequence[int],
        sampling: Sampling,
        *,
        streaming: bool,
        timeout: float,
        reading: Reading | None = None,
        prompt_param: str = "messages",
        continues: bool = False,
    ) -> None:
        self.model = model
        self.id = request_id
        self.prompt_tokens = len(prompt)
        self._prompt = prompt
        max_tokens = output_budget(model, len(prompt), sampling.max_tokens, prompt_param)
        # Without it the engine would go on to its own end before it could be told that the answer has ended.
        streaming = streaming or bool(sampling.stop) or (reading is not None and reading.most_calls is not None)
        request = build_request(model, request_id, prompt, sampling, max_tokens, streaming=streaming)
        self.record = GenerationRecord(model.id, len(prompt), streaming=streaming)
        self._stream = EngineStream(channel, request, timeout, request_fields(sampling, prompt_param))
        self._logprobs = sampling.logprobs
        answer = Answer(
            model.tokenizer,
            stop=sampling.stop if reading is None else (),
            end_ids=() if sampling.ignore_eos else model.end_ids,
            max_tokens=max_tokens,
            logprobs=sampling.logprobs,
            visible=reading.visible if reading is not None else frozenset(),
            continues=continues,
        )
        self._events: AnswerEvents
        self._events = PlainEvents(answer) if reading is None else ParsedEvents(answer, reading, sampling.stop)

    @property
    def waiting(self) -> bool:
        """Whether `events` goes on without having to wait: more tokens have arrived than were read."""
        return self._stream.waiting

    def cancel(self) -> None:
        """The client has left: frees the engine's slot at once; `events` then raises StreamCancelled."""
        self.record.cancelled = True
        self._stream.cancel()

    async def events(self) -> AsyncGenerator[Event, None]:
        """The answer: any number of events, then one Finish.

        Raises:
            APIError: Triton refused, failed or went away; or the model's tool call is none.
            StreamCancelled: `cancel` was called.
        """
        events, record, read = self._events, self.record, self._stream.read
        answer = events.answer
        cached: int | None = None
        clock = time.perf_counter
        record.begin()
        try:
            while (step := await read()) is not None:
                if step.cached_tokens is not None:
                    cached = step.cached_tokens
                if step.prompt_tokens is not None:
                    self.prompt_tokens = record.prompt_tokens = step.prompt_tokens
                if step.prompt_log_probs is not None:
                    yield self._prompt_logprobs(step)
                if step.ids:
                    record.tokens(clock(), len(step.ids))
                    for event in events.push(step.ids, self._step_logprobs(step) if self._logprobs else None):
                        yield event
                if events.finish_reason is None and step.finish_reason and step.finish_reason != "cancelled":
                    for event in events.finish(self._known(step.finish_reason)):
                        yield event
                if events.finish_reason is not None:
                    break
            if events.finish_reason is None:
                if "finish_reason" in self.model.outputs:  # an engine that says why it ends has not said it
                    raise unavailable("The model was stopped before the answer was complete.")
                for event in events.finish("stop"):
                    yield event
            if events.stopped:
                self._stream.cancel()  # the engine knows nothing of stop strings
            record.finish(answer.completion_tokens)
            yield Finish(
                events.finish_reason or "stop",
                self.prompt_tokens,
                answer.completion_tokens,
                cached,
                events.reasoning_tokens,
                answer.unshown_logprobs(),
            )
            if not events.stopped:
                await self._drain()
        finally:
            self._stream.cancel()
            record.close()

    def _known(self, reason: str) -> str:
        """OpenAI's name for an engine's reason: one that is neither known nor `cancelled` ends a whole answer."""
        if reason in _REASONS:
            return reason
        case = (self.model.id, reason[:100])
        if case not in _reported and len(_reported) < _MOST_REPORTED:
            _reported.add(case)
            fields = {"model": self.model.id, "finish_reason": case[1]}
            logger.warning("an engine names an unknown finish_reason: `stop` is told", extra={"fields": fields})
        return "stop"

    async def _drain(self) -> None:
        """Lets the engine end by itself: what is still to come is an empty last response.

        One that goes on writing after the end (an end token that it could not be told of) is cancelled.
        """
        with contextlib.suppress(APIError):  # the answer is complete: nothing that happens now takes it back
            while (step := await self._stream.read()) is not None:
                if step.ids:
                    self._stream.cancel()
                    return

    def _step_logprobs(self, step: EngineStep) -> list[TokenLogprob]:
        values, top = step.log_probs or [], step.top
        if len(values) < len(step.ids) or (top is not None and len(top) < len(step.ids)):
            raise APIError(502, "The model left out log probabilities.", type="server_error", code="model_error")
        return [TokenLogprob(token, values[index], top[index] if top else []) for index, token in enumerate(step.ids)]

    def _prompt_logprobs(self, step: EngineStep) -> PromptLogprobs:
        values, top = step.prompt_log_probs or [], step.prompt_top
        if len(values) != self.prompt_tokens or (top is not None and len(top) != self.prompt_tokens):
            raise APIError(502, "The model left out log probabilities.", type="server_error", code="model_error")
        return PromptLogprobs(
            [TokenLogprob(token, values[index], top[index] if top else []) for index, token in enumerate(self._prompt)]
        )
