"""One generation: the engine's stream in, events out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Sequence

from adapter.errors import APIError, unavailable
from adapter.generation.answer import Answer
from adapter.generation.events import Event, Finish, TextDelta, TokenLogprob
from adapter.generation.sampling import Sampling, build_request, output_budget, request_fields
from adapter.telemetry.generations import GenerationRecord
from adapter.triton.channel import TritonChannel
from adapter.triton.model import ServedModel
from adapter.triton.stream import EngineStep, EngineStream


class Generation:
    """A generation that is about to run; `events` runs it, once.

    Args:
        request_id: unique; also Triton's id of the request.
        prompt: token ids.
        streaming: whether each token is wanted as it comes. Without it the engine answers in one piece, which costs
            less, unless a stop string has to be looked for on the way.
        timeout: seconds for the whole generation.

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
    ) -> None:
        self.model = model
        self.id = request_id
        self.prompt_tokens = len(prompt)
        max_tokens = output_budget(model, len(prompt), sampling.max_tokens)
        streaming = streaming or bool(sampling.stop)
        request = build_request(model, request_id, prompt, sampling, max_tokens, streaming=streaming)
        self.record = GenerationRecord(model.id, len(prompt), streaming=streaming)
        self._stream = EngineStream(channel, request, timeout, request_fields(sampling))
        self._logprobs = sampling.logprobs
        self._answer = Answer(
            model.tokenizer,
            stop=sampling.stop,
            end_ids=model.end_ids,
            max_tokens=max_tokens,
            logprobs=sampling.logprobs,
        )

    @property
    def waiting(self) -> bool:
        """Whether `events` goes on without having to wait: more tokens have arrived than were read."""
        return self._stream.waiting

    def cancel(self) -> None:
        """The client has left: frees the engine's slot at once; `events` then raises StreamCancelled."""
        self.record.cancelled = True
        self._stream.cancel()

    async def events(self) -> AsyncGenerator[Event, None]:
        """The answer: any number of TextDelta, then one Finish.

        Raises:
            APIError: Triton refused, failed or went away.
            StreamCancelled: `cancel` was called.
        """
        answer, record, read = self._answer, self.record, self._stream.read
        cached: int | None = None
        clock = time.perf_counter
        record.begin()
        try:
            while (step := await read()) is not None:
                if step.cached_tokens is not None:
                    cached = step.cached_tokens
                if step.ids:
                    record.tokens(clock(), len(step.ids))
                    text = answer.push(step.ids, self._step_logprobs(step) if self._logprobs else None)
                    if text:
                        yield TextDelta(text, answer.completion_tokens, answer.logprobs())
                if answer.finish_reason is None and step.finish_reason and step.finish_reason != "cancelled":
                    rest = answer.finish(step.finish_reason)
                    if rest:
                        yield TextDelta(rest, answer.completion_tokens, answer.logprobs())
                if answer.finish_reason is not None:
                    break
            if answer.finish_reason is None:
                if "finish_reason" in self.model.outputs:  # an engine that says why it ends has not said it
                    raise unavailable("The model was stopped before the answer was complete.")
                rest = answer.finish("stop")
                if rest:
                    yield TextDelta(rest, answer.completion_tokens, answer.logprobs())
            if answer.stopped:
                self._stream.cancel()  # the engine knows nothing of stop strings
            record.finish(answer.completion_tokens)
            yield Finish(answer.finish_reason or "stop", self.prompt_tokens, answer.completion_tokens, cached)
            if not answer.stopped:
                await self._drain()
        finally:
            self._stream.cancel()
            record.close()

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
