from __future__ import annotations

import os
import signal

import pytest

from launcher.stop_signals import Stop, StopSignals


def send(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_raises_stop_once(number: signal.Signals) -> None:
    tidied = False
    with StopSignals() as signals, pytest.raises(Stop):
        try:
            send(number)
            pytest.fail("went on")
        finally:
            send(number)  # must not break off what tidies up
            tidied = True
    assert tidied and signals.stopping


def test_a_request_is_not_an_ordinary_exception() -> None:
    with StopSignals(), pytest.raises(Stop):
        try:
            send()
        except Exception:
            pytest.fail("taken for a failure")


def test_calls_instead_of_raising_and_raises_at_the_end() -> None:
    calls = []
    with StopSignals() as signals, pytest.raises(Stop), signals.calling(lambda: calls.append(1)):
        send()
        send()
        calls.append(2)
    assert calls == [1, 1, 2]


def test_failure_that_a_request_caused_is_a_stop() -> None:
    with StopSignals() as signals, pytest.raises(Stop), signals.calling(lambda: None):
        send()
        raise RuntimeError("stopped while starting")


def test_failure_without_a_request_stays_a_failure() -> None:
    with StopSignals() as signals, pytest.raises(RuntimeError, match="port"), signals.calling(lambda: None):
        raise RuntimeError("port")


def test_tidying_up_after_a_stop_raises_nothing_more() -> None:
    calls = []
    with StopSignals() as signals:
        with pytest.raises(Stop):
            send()
        with signals.calling(lambda: calls.append("hurry")):
            send()
    assert calls == ["hurry"]


def test_failure_while_tidying_up_is_seen() -> None:
    with StopSignals() as signals:
        with pytest.raises(Stop):
            send()
        with pytest.raises(OSError), signals.calling(lambda: None):
            raise OSError("disk")


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with StopSignals():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
