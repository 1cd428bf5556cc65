"""The event loop that drives the LLM: whatever happens, every request gets one last response."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from tests.support.model_modules import model_module
from tests.support.pretend_backend import pretend_backend


class Sender:
    """Triton's response sender."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.final = threading.Event()
        self.gone = False

    def send(self, response: Any = None, flags: int = 0) -> None:
        assert not self.final.is_set(), "a response after the last"
        self.sent.append(response)
        if flags:
            self.final.set()

    def is_cancelled(self) -> bool:
        assert not self.final.is_set(), "asked after the last response, Triton crashes"
        return self.gone


class Result:
    """The LLM API's RequestOutput: answers with `steps` tokens, or what a test does."""

    def __init__(self, steps: int, *, abort: Callable[[], None] = lambda: None) -> None:
        self.outputs = [SimpleNamespace(token_ids=[], finish_reason=None, logprobs=None)]
        self.finished = False
        self.aborted = 0
        self._steps = steps
        self._abort = abort

    def abort(self) -> None:
        self.aborted += 1
        self._abort()

    def __aiter__(self) -> Result:
        return self

    async def __anext__(self) -> Result:
        if self.finished:
            raise StopAsyncIteration
        if not self._steps:
            await asyncio.sleep(60)
        await asyncio.sleep(0.001)
        self.outputs[0].token_ids.append(50)
        self._steps -= 1
        return self


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    with pretend_backend(
        monkeypatch,
        "tensorrt_llm_api",
        ("reply", "answer_tensors", "responses", "runner"),
        ("generation", "request", "extras"),
    ) as found:
        yield found


@pytest.fixture
def running(modules: SimpleNamespace) -> Iterator[Callable[..., Any]]:
    """Starts a runner over one LLM whose `generate_async` is the test's."""
    started = []

    def start(submit: Callable[[Any], Any], **llm: Any) -> Any:
        async def observe() -> None:
            await asyncio.sleep(3600)

        async def submitted(generation: Any) -> Any:
            return submit(generation)

        died: list[str] = []
        runner = modules.runner.Runner(
            SimpleNamespace(**llm), submitted, errors=(ValueError,), died=died.append, observe=observe
        )
        runner.deaths = died
        runner.start()
        started.append(runner)
        return runner

    yield start
    for runner in started:
        runner.stop()


def generation_of(modules: SimpleNamespace, sender: Sender, length: int = 4, **more: Any) -> Any:
    tensors = {"input_ids": [[5, 6]], "request_output_len": [length], "streaming": [True], **more}
    limits = modules.request.Limits(context_length=99, vocab_size=100, end_ids=(2,), media=True)
    arrays = {name: np.array(value) for name, value in tensors.items()}
    made = modules.generation.Generation(modules.request.read_request(arrays, limits), modules.extras.Extras())
    made.reply = modules.reply.Reply(sender, frozenset({"finish_reason"}))
    return made


def reason(sender: Sender) -> str | None:
    tensors = {tensor.name: tensor.array for tensor in (sender.sent[-1].tensors if sender.sent[-1] else [])}
    return tensors["finish_reason"][0, 0].decode() if "finish_reason" in tensors else None


@pytest.mark.parametrize("broken", [False, True])
def test_a_reply_closes_once(modules: SimpleNamespace, broken: bool) -> None:
    """Its place in the queue is given back once, whoever else wants to end it, and though nothing can be sent."""
    sender, closed = Sender(), []
    if broken:
        sender.send = Mock(side_effect=OSError("no shared memory"))  # type: ignore[method-assign]
    reply = modules.reply.Reply(sender, frozenset(), lambda: closed.append(1))
    with pytest.raises(OSError) if broken else nullcontext():
        reply.send_last([])
    reply.refuse("too late", 1)
    assert closed == [1]
    assert not reply.cancelled()
    assert broken or len(sender.sent) == 1


def test_an_answer(modules: SimpleNamespace, running: Any) -> None:
    result, sender = Result(9), Sender()
    running(lambda _: result).submit(generation_of(modules, sender))
    assert sender.final.wait(5)
    assert (len(sender.sent), reason(sender), result.aborted) == (4, "length", 1)  # it would have gone on


@pytest.mark.parametrize("gone", [True, False])
def test_cancelled_while_it_runs(modules: SimpleNamespace, running: Any, gone: bool) -> None:
    result, sender = Result(1), Sender()
    generation = generation_of(modules, sender)
    runner = running(lambda _: result)
    runner.submit(generation)
    while not sender.sent:
        time.sleep(0.001)
    sender.gone = gone
    runner.cancel(generation)
    runner.cancel(generation)
    assert sender.final.wait(5)
    assert (reason(sender), result.aborted) == (None if gone else "cancelled", 1)


@pytest.mark.parametrize("order", [("submit", "cancel"), ("cancel", "submit")])
def test_cancelled_before_it_begins(modules: SimpleNamespace, running: Any, order: tuple[str, str]) -> None:
    """The loop is busy: submission and cancellation come to it one right after the other."""
    sender, asked, busy = Sender(), [], threading.Event()
    generation = generation_of(modules, sender)
    runner = running(lambda generation: asked.append(generation) or Result(9))
    runner._loop.call_soon_threadsafe(busy.wait, 5)
    for name in order:
        getattr(runner, name)(generation)
    busy.set()
    assert sender.final.wait(5)
    assert reason(sender) == "cancelled"
    assert asked == []


def test_an_abort_that_fails(modules: SimpleNamespace, running: Any) -> None:
    def fail() -> None:
        raise AssertionError("The executor is not set for this result.")

    sender = Sender()
    generation = generation_of(modules, sender)
    runner = running(lambda _: Result(1, abort=fail))
    runner.submit(generation)
    while not sender.sent:
        time.sleep(0.001)
    runner.cancel(generation)
    assert sender.final.wait(5)


def test_a_refusal_of_the_llm(modules: SimpleNamespace, running: Any) -> None:
    def refuse(_: Any) -> Any:
        raise ValueError("should not exceed max_num_tokens")

    sender = Sender()
    runner = running(refuse)
    runner.submit(generation_of(modules, sender))
    assert sender.final.wait(5)
    assert sender.sent[-1].error is not None
    assert runner.deaths == []


@pytest.mark.parametrize(("llm", "deaths"), [({}, 1), ({"_check_health": lambda: True}, 0)])
def test_an_unknown_error(modules: SimpleNamespace, running: Any, llm: dict[str, Any], deaths: int) -> None:
    """It is the LLM's own, unless the LLM can say that it is well."""

    def fail(_: Any) -> Any:
        raise RuntimeError("LLM is shutting down")

    sender = Sender()
    runner = running(fail, **llm)
    runner.submit(generation_of(modules, sender))
    assert sender.final.wait(5)
    assert sender.sent[-1].error is not None
    assert len(runner.deaths) == deaths


@pytest.mark.parametrize("lasting", [False, True])
def test_a_response_that_cannot_be_sent(modules: SimpleNamespace, running: Any, lasting: bool) -> None:
    """The LLM does not go on writing for nobody, and Triton hears of the end as far as that is possible."""
    result, sender, closed = Result(2), Sender(), threading.Event()
    broken = [OSError("no shared memory")] * (9 if lasting else 1)
    send = sender.send

    def fail(*arguments: Any, **options: Any) -> None:
        if broken:
            raise broken.pop()
        send(*arguments, **options)

    sender.send = fail  # type: ignore[method-assign]
    generation = generation_of(modules, sender)
    generation.reply = modules.reply.Reply(sender, frozenset(), closed.set)
    runner = running(lambda _: result, _check_health=lambda: True)
    runner.submit(generation)
    assert closed.wait(5)
    assert result.aborted == 1
    assert lasting or "no shared memory" in sender.sent[-1].error.message
    assert runner.deaths == []


def test_the_last_words_of_a_cancelled_answer_cannot_be_sent(modules: SimpleNamespace, running: Any) -> None:
    result, sender = Result(1), Sender()
    generation = generation_of(modules, sender)
    generation.sequences *= 2
    runner = running(lambda _: result)
    runner.submit(generation)
    while not sender.sent:
        time.sleep(0.001)
    generation.reply.send = Mock(side_effect=OSError("no shared memory"))
    runner.cancel(generation)
    assert sender.final.wait(5)
    assert "no shared memory" in sender.sent[-1].error.message


def test_nothing_follows_the_last_response(modules: SimpleNamespace) -> None:
    sender = Sender()
    reply = modules.reply.Reply(sender)
    reply.refuse("the engine has died", 1)
    reply.send([])
    assert len(sender.sent) == 1


async def test_images_of_few_requests_are_in_memory(modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding must not run ahead of a `generate_async` that takes its time in the event loop."""
    model, prompts = model_module("tensorrt_llm_api", "model"), model_module("tensorrt_llm_api", "image_prompts")
    monkeypatch.setattr(model, "sampling_params", lambda *_, **__: None)
    ahead: list[int] = []
    held: set[Any] = set()

    def decode(generation: Any) -> None:
        held.add(generation)
        ahead.append(len(held))

    async def prepare(generation: Any, params: Any) -> tuple[Any, str]:
        await asyncio.get_running_loop().run_in_executor(None, decode, generation)
        return generation, ""

    def generate_async(prompt: Any, **options: Any) -> Any:
        time.sleep(0.02)
        held.remove(prompt)
        return SimpleNamespace(prompt_token_ids=[1])

    room = asyncio.Semaphore(prompts.AT_ONCE)
    triton_model: Any = object.__new__(model.TritonPythonModel)
    triton_model._features = SimpleNamespace(call=frozenset())
    triton_model._end_ids, triton_model._vocab_size, triton_model._tokenizer = (), 100, None
    triton_model._images = SimpleNamespace(room=room, prepare=prepare, check_length=lambda *_: None)
    triton_model._llm = SimpleNamespace(generate_async=generate_async)
    triton_model._lock, triton_model._media_bytes = threading.Lock(), 0
    waiting = [generation_of(modules, Sender(), input_ids=[[5, -1, 6]]) for _ in range(9)]
    tasks = [asyncio.ensure_future(triton_model._submit(generation)) for generation in waiting]
    await asyncio.sleep(0)
    tasks[1].cancel()  # while it is decoded
    tasks[5].cancel()  # while it waits
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [number for number, made in enumerate(results) if isinstance(made, BaseException)] == [1, 5]
    assert max(ahead) <= prompts.AT_ONCE + 1  # that of the cancelled one, until its thread is done with it
    assert not room.locked()


class Panic(BaseException):
    """As Rust code's panics come to Python: pyo3's PanicException is no Exception."""


def test_a_panic_costs_one_request(modules: SimpleNamespace, running: Any) -> None:
    def panic(generation: Any) -> Any:
        if generation.request.output_length == 3:
            raise Panic("called `Option::unwrap()` on a `None` value")
        return Result(9)

    runner = running(panic, _check_health=lambda: True)
    senders = [Sender(), Sender()]
    for sender, length in zip(senders, (3, 4), strict=True):
        runner.submit(generation_of(modules, sender, length))
    assert all(sender.final.wait(5) for sender in senders)
    assert "unwrap" in senders[0].sent[-1].error.message
    assert reason(senders[1]) == "length"
    assert runner.deaths == []


@pytest.mark.parametrize("ending", [SystemExit("bye"), KeyboardInterrupt()])
def test_what_ends_a_thread_ends_the_model(modules: SimpleNamespace, running: Any, ending: BaseException) -> None:
    def end(_: Any) -> Any:
        raise ending

    runner = running(end, _check_health=lambda: True)
    runner.submit(generation_of(modules, Sender()))
    runner._thread.join(5)
    assert runner.deaths == [f"the thread llm-events ended with {ending!r}"]
    runner.stop = lambda: None  # it is


def test_a_health_check_that_fails(modules: SimpleNamespace, running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would look after the LLM any more, and its end would leave all requests waiting."""
    monkeypatch.setattr(modules.runner, "HEALTH_PERIOD", 0.01)

    def fail() -> bool:
        raise OSError("the queue to the executor is gone")

    runner = running(lambda _: Result(1), _check_health=fail)
    deadline = time.monotonic() + 5
    while not runner.deaths:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "the queue to the executor is gone" in runner.deaths[0]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (IndexError("list index out of range"), "media: IndexError('list index out of range')"),
        (ValueError("Image features and image tokens do not match"), "media: Image features and image tokens do not"),
        (ValueError("The prompt length 9 exceeds max_num_tokens"), "input_ids: "),
    ],
)
def test_what_the_llm_cannot_make_a_prompt_of(
    modules: SimpleNamespace, running: Any, error: Exception, message: str
) -> None:
    def refuse(_: Any) -> Any:
        raise error

    sender = Sender()
    runner = running(refuse, _check_health=lambda: True)
    runner.submit(generation_of(modules, sender, input_ids=[[5, -1, 6]]))
    assert sender.final.wait(5)
    assert sender.sent[-1].error.message.startswith(message)
    assert sender.sent[-1].error.code == 3
    assert runner.deaths == []


def test_what_is_open_when_the_model_is_unloaded(modules: SimpleNamespace, running: Any) -> None:
    result, sender = Result(1), Sender()
    runner = running(lambda _: result)
    runner.submit(generation_of(modules, sender))
    while not sender.sent:
        time.sleep(0.001)
    runner._loop.call_soon_threadsafe(runner._loop.stop)
    assert sender.final.wait(5)
    assert (reason(sender), result.aborted) == ("cancelled", 1)
    runner.stop = lambda: None  # it is
