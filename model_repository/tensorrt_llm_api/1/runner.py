"""The thread whose event loop drives the LLM: all requests are in flight in one LLM, which batches them itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import triton_python_backend_utils as pb_utils

from .faults import blamed
from .generation import CANCELLED, EngineFault, Generation, scored_token
from .request import RequestError
from .responses import response_tensors
from .vital_thread import VitalThread

HEALTH_PERIOD = 1.0  # seconds between two looks at the LLM's processes
Submit = Callable[[Generation], Awaitable[Any]]


class Runner:
    """Runs generations, and answers them.

    Args:
        llm: the LLM API's `LLM`, or something with its `_check_health`.
        submit: makes the call of `LLM.generate_async` for a generation, whose `result` it sets too; returns its
            RequestOutput.
        errors: exceptions by which TensorRT-LLM refuses or fails one request alone.
        died: called, from the loop's thread, when the LLM cannot go on; says why.
        observe: a coroutine that runs beside the generations, for metrics.
    """

    def __init__(
        self,
        llm: Any,
        submit: Submit,
        *,
        errors: tuple[type[Exception], ...],
        died: Callable[[str], None],
        observe: Callable[[], Any],
    ) -> None:
        self._llm = llm
        self._submit = submit
        self._errors = errors
        self._died = died
        self._observe = observe
        self._running: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = VitalThread(self._run, "llm-events", died)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; what is open is finished as cancelled."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def submit(self, generation: Generation) -> None:
        """Begins a generation; from any thread."""
        self._loop.call_soon_threadsafe(self._begin, generation)

    def cancel(self, generation: Generation) -> None:
        """Has a generation end as soon as can be; from any thread, harmless when it has ended."""
        generation.cancelled = True
        self._loop.call_soon_threadsafe(self._break_off, generation)

    @property
    def healthy(self) -> bool:
        """Whether the LLM's processes live, as far as this release of TensorRT-LLM tells."""
        check = getattr(self._llm, "_check_health", None)
        return check is None or bool(check())

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        beside = [self._loop.create_task(self._watch_health()), self._loop.create_task(self._observe())]
        for task in beside:
            task.add_done_callback(self._ended_beside)
        try:
            self._loop.run_forever()
            left = [*beside, *self._running]
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self._loop.close()

    def _ended_beside(self, task: asyncio.Task[None]) -> None:
        """An exception in a task of its own stops nothing: without this, nobody would look after the LLM any more."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._died(f"what runs beside the requests ended with {error!r}")

    async def _watch_health(self) -> None:
        """Requests to a dead LLM wait for ever: nothing but this would end them."""
        while True:
            await asyncio.sleep(HEALTH_PERIOD)
            if not self.healthy:
                self._died("TensorRT-LLM's processes have ended")

    def _begin(self, generation: Generation) -> None:
        if generation.cancelled:
            self._end_cancelled(generation)
            return
        task = self._loop.create_task(self._answer(generation))
        generation.task = task
        self._running.add(task)
        task.add_done_callback(lambda task: self._ended(generation, task))

    def _ended(self, generation: Generation, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.cancelled():  # before it had begun: nothing of it has run
            self._end_cancelled(generation)
        elif (error := task.exception()) is not None:  # its last response, too, could not be made or sent
            self._abort(generation)
            pb_utils.Logger.log_error(f"a request failed: {error!r}")
            generation.reply.refuse(f"TensorRT-LLM: {error!r}", pb_utils.TritonError.INTERNAL)

    def _break_off(self, generation: Generation) -> None:
        self._abort(generation)
        if generation.task is not None:
            generation.task.cancel()

    def _abort(self, generation: Generation) -> None:
        result = generation.result
        if result is None or result.finished or generation.aborted:
            return
        generation.aborted = True
        try:
            result.abort()
        except Exception as error:  # of an LLM that is going down: the answer is to end all the same
            pb_utils.Logger.log_error(f"a request could not be aborted: {error!r}")

    async def _answer(self, generation: Generation) -> None:
        reply = generation.reply
        try:
            await self._generate(generation)
        except asyncio.CancelledError:
            self._abort(generation)  # also where the thread is stopped
            self._end_cancelled(generation)
        except RequestError as error:
            self._abort(generation)
            reply.refuse(str(error), pb_utils.TritonError.INVALID_ARG)
        except self._errors as error:
            self._abort(generation)
            tensor = self._at_fault(generation, error)
            if tensor is not None:
                reply.refuse(f"{tensor}: {error}", pb_utils.TritonError.INVALID_ARG)
            else:
                reply.refuse(f"TensorRT-LLM: {error}", pb_utils.TritonError.INTERNAL)
        except EngineFault as error:
            self._abort(generation)
            pb_utils.Logger.log_error(str(error))
            reply.refuse(f"TensorRT-LLM: {error}", pb_utils.TritonError.INTERNAL)
        except Exception as error:
            # What is no refusal of this request comes from the LLM's own threads and processes.
            self._abort(generation)
            if not hasattr(self._llm, "_check_health") or not self.healthy:
                self._died(repr(error))
            pb_utils.Logger.log_error(f"a request failed: {error!r}")
            if self._at_fault(generation, error) == "media":
                reply.refuse(f"media: {error!r}", pb_utils.TritonError.INVALID_ARG)
            else:
                reply.refuse(f"TensorRT-LLM: {error!r}", pb_utils.TritonError.INTERNAL)
        except (KeyboardInterrupt, SystemExit):
            raise  # asyncio hands these on: they end the loop, and so the model
        except BaseException as error:
            # A panic of Rust code, which is no Exception. asyncio keeps it with the task, and nobody looks there.
            self._abort(generation)
            pb_utils.Logger.log_error(f"a request failed: {error!r}")
            reply.refuse(f"TensorRT-LLM: {error!r}", pb_utils.TritonError.INTERNAL)

    def _at_fault(self, generation: Generation, error: Exception) -> str | None:
        """The tensor that an error is about. What fails before there is a result are the media of a request that has
        any: everything else of it was checked before."""
        tensor = blamed(str(error), generation.request.guide is not None)
        if tensor is None and generation.request.media_places and generation.result is None:
            return "media"
        return tensor

    async def _generate(self, generation: Generation) -> None:
        result = generation.result = await self._submit(generation)
        async for _ in result:
            last = bool(result.finished)
            self._advance(generation, last)
            if generation.request.streaming or last or generation.ended:
                self._deliver(generation)
            if generation.ended:
                return
        self._advance(generation, True)
        self._deliver(generation)

    def _advance(self, generation: Generation, last: bool) -> None:
        outputs = generation.result.outputs
        for sequence in generation.sequences:
            sequence.advance(outputs[sequence.index], last)
        if generation.ended:
            # Only now does the LLM hear of a stop word that it does not know. Before the client does: its next request
            # finds the place free.
            self._abort(generation)

    def _deliver(self, generation: Generation) -> None:
        """Sends what is new: a response for each of the answers that has got on. The last one of all is so marked."""
        reply = generation.reply
        if not reply.responded:
            self._note_prompt(generation)
        news = [
            sequence
            for sequence in generation.sequences
            if sequence.pending or (sequence.reason is not None and not sequence.told)
        ]
        for position, sequence in enumerate(news, 1):
            tensors = response_tensors(generation, sequence, sequence.take())
            if generation.ended and position == len(news):
                reply.send_last(tensors)
            else:
                reply.send(tensors)

    def _note_prompt(self, generation: Generation) -> None:
        result, request = generation.result, generation.request
        cached = getattr(result, "cached_tokens", None)
        generation.cached_tokens = None if cached is None else int(cached)
        if not request.prompt_log_probs:
            return
        scores = result.outputs[0].prompt_logprobs or []
        ids = request.prompt.tolist()
        # The LLM API's rows begin with the second token of the prompt, and may go on to the first of the answer.
        if len(scores) < len(ids) - 1:
            raise EngineFault(f"log probabilities of {len(ids) - 1 - len(scores)} tokens of the prompt are missing")
        rest = [scored_token(token, score, request.alternatives) for token, score in zip(ids[1:], scores, strict=False)]
        generation.prompt_scores = [scored_token(ids[0], 0.0, 0), *rest]

    def _end_cancelled(self, generation: Generation) -> None:
        reply = generation.reply
        if reply.cancelled():
            reply.send_last()  # nobody reads it
            return
        left = [sequence for sequence in generation.sequences if not sequence.told]
        for position, sequence in enumerate(left, 1):
            sequence.reason = sequence.reason or CANCELLED
            tensors = response_tensors(generation, sequence, sequence.take())
            if position == len(left):
                reply.send_last(tensors)
            else:
                reply.send(tensors)
        reply.send_last()
