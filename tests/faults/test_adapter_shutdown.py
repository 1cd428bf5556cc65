"""The adapter is stopped: what is open may finish, for a time."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable

import httpx
import openai
import pytest

from tests.support.adapter_process import AdapterProcess
from tests.support.own_adapter import ENDLESS, client_of, start_stream


def test_an_open_stream_may_finish(start_adapter: Callable[..., AdapterProcess]) -> None:
    adapter = start_adapter(shutdown_timeout=30)
    with client_of(adapter) as client:
        stream = start_stream(client, **{**ENDLESS, "max_tokens": 60})
        adapter.process.send_signal(signal.SIGTERM)
        stream.join(40)
        assert stream.error is None
        assert stream.answer.finish_reason == "length"
        usage = stream.answer.chunks[-1].usage
        assert usage is not None and usage.completion_tokens == 60
    assert adapter.process.wait(30) == 0
    assert "Traceback" not in adapter.output()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_takes_too_long_is_ended(start_adapter: Callable[..., AdapterProcess], number: signal.Signals) -> None:
    adapter = start_adapter(shutdown_timeout=1)
    with client_of(adapter) as client:
        stream = start_stream(client, **ENDLESS)
        adapter.process.send_signal(number)
        assert adapter.process.wait(15) == 0
        stream.join(10)
        assert stream.error is not None, "an answer that was cut off looks complete"
    assert "Traceback" not in adapter.output()
    lines = [json.loads(line) for line in adapter.output().splitlines() if line.startswith("{")]
    (told,) = [line for line in lines if line["level"] in ("warning", "error")]
    assert (told["logger"], told["ended"], told["seconds"]) == ("tritongate.server", 1, 1.0)
    (request,) = [line for line in lines if line.get("route") == "/v1/chat/completions"]
    assert request["error"] == "shutting_down"


def test_a_second_interrupt_ends_it_at_once(start_adapter: Callable[..., AdapterProcess]) -> None:
    adapter = start_adapter(shutdown_timeout=120)
    with client_of(adapter) as client:
        stream = start_stream(client, **ENDLESS)
        adapter.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert adapter.process.poll() is None
        adapter.process.send_signal(signal.SIGINT)
        assert adapter.process.wait(15) == 0
        stream.join(10)
        assert stream.error is not None


def test_idle_it_ends_at_once(start_adapter: Callable[..., AdapterProcess]) -> None:
    """Connections that are kept open for nothing are no reason to wait."""
    adapter = start_adapter(shutdown_timeout=60)
    with client_of(adapter) as client:
        client.models.list()
        assert adapter.stop() == 0
        with pytest.raises(openai.APIConnectionError):
            client.models.list()


def test_nobody_new_comes_in(start_adapter: Callable[..., AdapterProcess]) -> None:
    adapter = start_adapter(shutdown_timeout=30)
    with client_of(adapter) as client:
        stream = start_stream(client, **{**ENDLESS, "max_tokens": 200})
        adapter.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        with pytest.raises(httpx.ConnectError):
            while time.monotonic() < deadline:
                # A connection that was made just before the stop is closed before its request is read.
                with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
                    httpx.get(f"{adapter.url}/health/live", timeout=5.0, trust_env=False)
                time.sleep(0.05)
        stream.join(40)
        assert stream.error is None
    assert adapter.process.wait(30) == 0
