"""Notices a peer that is gone without a word, or stands still: a PING that is not answered.

TCP's own probes (`connection`) find a machine that vanished, but not one behind something that goes on acknowledging
what it is sent, and not a process that stands still.

gRPC servers hold frequent pings to be abuse: after more than two that come within five minutes of the one before, with
no answer to any request in between, they end the connection (gRPC's `doc/keepalive.md`; Triton's options
`--grpc-http2-min-recv-ping-interval-without-data` and `--grpc-http2-max-ping-strikes`, at their defaults). So a silence
after an answer is probed soon, and what remains of it only every five minutes. Without calls nobody waits, and nothing
is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TICK = 10.0  # seconds
# Counted in ticks, not by the clock: when this process itself stood still, what the peer sent meanwhile is read first.
_SILENCE = 2  # until a ping is sent
_ANSWER = 2  # until its answer is missed
_AGAIN = 31  # until the next ping in the same silence


class KeepAlive:
    """Watches one connection from `start` on.

    Args:
        ping: sends a PING.
        lost: ends the connection, for a reason.

    Attributes:
        heard: anything has arrived; to be set.
        answered: so has something of a call, which makes a server forget earlier pings; to be set.
    """

    __slots__ = ("_again", "_lost", "_ping", "_silent", "_timer", "_waiting", "answered", "heard")

    def __init__(self, ping: Callable[[], None], lost: Callable[[str], None]) -> None:
        self.heard = False
        self.answered = True  # there were no pings yet
        self._ping = ping
        self._lost = lost
        self._timer: asyncio.TimerHandle | None = None
        self._silent = 0  # ticks since anything was heard
        self._waiting = 0  # ticks for the answer to a ping; 0: for none
        self._again = 0  # ticks until another ping is harmless, if nothing is answered

    def start(self, loop: asyncio.AbstractEventLoop, in_use: Callable[[], object]) -> None:
        """`in_use`: whether there are calls."""

        def tick() -> None:
            self._timer = loop.call_later(TICK, tick)
            self.tick(bool(in_use()))

        self._timer = loop.call_later(TICK, tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def acknowledged(self) -> None:
        """The peer has answered a ping. What it sent before that came before it had the ping."""
        self._waiting = 0
        self.answered = False

    def tick(self, in_use: bool) -> None:
        self._again = max(0, self._again - 1)
        self._silent = 0 if self.heard else self._silent + 1
        self.heard = False
        if self._waiting:
            self._waiting += 1
            if self._silent >= _ANSWER and self._waiting > _ANSWER:
                self._lost("the peer does not answer")
        elif in_use and self._silent >= _SILENCE and (self.answered or not self._again):
            self._waiting, self._again = 1, _AGAIN
            self._ping()
