"""The way to Triton: which of several a request is sent to, and where it goes when that one is lost.

What gRPC's client-side policies do with a service configuration (`round_robin` with health checking, least request,
a retry policy for UNAVAILABLE), done for the connections of this package: gRPC's own channel would carry every token
for several times the cost (docs/performance.md).

Messages are those of the KServe v2 protocol as `tritonclient` ships them.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import grpc
from tritonclient.grpc import service_pb2 as pb

from adapter.telemetry import metrics
from adapter.triton.call import CallFailed, NotProcessed
from adapter.triton.errors import from_triton
from adapter.triton.subchannel import Subchannel
from adapter.triton.targets import Target, parse_targets, resolve, unique
from adapter.triton.tls import client_context

logger = logging.getLogger("tritongate.models")

_ATTEMPTS = 3  # that one request gets, at most: one that kills Tritons must not kill them all
_LOOKUP_PATIENCE = 2.0  # seconds that discovery waits for a name server


class TritonChannel:
    """Calls to one Triton, or to several, of which each request gets the least loaded that is ready and has its model.

    Args:
        url: as `adapter.triton.targets` describes it.
        authorities: certificates (PEM) that TLS trusts; None: the system's.

    Attributes:
        on_failure: called when a Triton stops being ready.

    Raises:
        ValueError: the URL has another form.
        OSError: `authorities` cannot be used.
    """

    def __init__(self, url: str, authorities: Path | None = None) -> None:
        self._targets = parse_targets(url)
        self._tls = client_context(authorities) if any(target.tls for target in self._targets) else None
        self._subchannels: dict[Target, Subchannel] = {}
        self.subchannels: Sequence[Subchannel] = ()
        self.on_failure: Callable[[Subchannel], None] | None = None
        self._addresses: dict[Target, tuple[Target, ...]] = {}  # of a name, as last looked up
        self._lookup: asyncio.Task[None] | None = None
        self._unknown: set[Target] = set()  # names that could not be looked up the last time
        self._leaving: set[Subchannel] = set()  # at addresses that are gone, with requests under way
        self._closing: set[asyncio.Task[None]] = set()
        self._turn = random.randrange(1 << 16)  # so that several adapters do not all begin with the same one
        self._settle()

    async def close(self) -> None:
        if self._lookup is not None:
            self._lookup.cancel()
        leaving, self._leaving = self._leaving, set()
        await asyncio.gather(*(one.close() for one in (*self.subchannels, *leaving)), *self._closing)

    async def look_up_names(self) -> None:
        """Looks up again where the names point; what still goes to an address that is gone may end there."""
        if not any(target.dns for target in self._targets):
            return
        if self._lookup is None or self._lookup.done():
            self._lookup = asyncio.get_running_loop().create_task(self._look_up())
        await asyncio.wait([self._lookup], timeout=_LOOKUP_PATIENCE)

    @property
    def reachable(self) -> bool:
        """Whether any Triton is ready."""
        return any(one.ready for one in self.subchannels)

    def serving(self, model: str) -> list[Subchannel]:
        """Those that are ready and have a model, by Triton's name of it."""
        return [one for one in self.subchannels if one.ready and model in one.serves]

    def attempts(self, model: str, timeout: float) -> Attempts:
        """For a request to `model` (Triton's name of it).

        Args:
            timeout: seconds for all attempts together.
        Raises:
            CallFailed: there is no Triton to try.
        """
        return Attempts(self, model, timeout)

    def pick(self, model: str, tried: Collection[Subchannel] = ()) -> Subchannel | None:
        """The least loaded of those that have the model; in turn, where several are.

        Where none of them is ready, and none was tried, one is tried all the same: it may be back this moment.
        """
        known = self.subchannels
        if len(known) == 1:
            return None if tried else known[0]
        candidates = [one for one in known if one.ready and model in one.serves and one not in tried]
        if not candidates and not tried:
            candidates = [one for one in known if model in one.serves]
        if not candidates:
            return None
        if not tried:  # a second attempt must not bring the first ones out of step
            self._turn += 1
        start = self._turn % len(candidates)
        return min(candidates[start:] + candidates[:start], key=_load)

    async def infer(self, request: pb.ModelInferRequest, timeout: float) -> pb.ModelInferResponse:
        """One request, one response: for models that are not decoupled.

        Raises:
            APIError: what Triton says, in OpenAI's form.
        """
        try:
            attempts = self.attempts(request.model_name, timeout)
            while True:
                try:
                    return await attempts.subchannel.infer(request, attempts.remaining)
                except CallFailed as failure:
                    if not attempts.another(failure):
                        raise
        except CallFailed as failure:
            raise from_triton(failure.code, failure.details) from failure

    async def _look_up(self) -> None:
        for target in self._targets:
            if not target.dns:
                continue
            try:
                self._addresses[target] = await resolve(target)
                self._unknown.discard(target)
            except (OSError, UnicodeError) as error:  # the addresses known so far are not worse for it
                if target not in self._unknown:
                    fields = {"triton": target.label, "reason": str(error)}
                    logger.warning("a Triton's name cannot be looked up", extra={"fields": fields})
                self._unknown.add(target)
        self._settle()

    def _settle(self) -> None:
        """Makes the subchannels those of the addresses as they are known now."""
        wanted: list[Target] = []
        for target in self._targets:
            wanted += self._addresses.get(target, ()) if target.dns else (target,)
        current = {
            target: self._subchannels.get(target) or Subchannel(target, self._tls, self._failed)
            for target in unique(wanted)
        }
        gone = [one for target, one in self._subchannels.items() if target not in current]
        self._subchannels = current
        self.subchannels = tuple(current.values())
        self._leaving.update(gone)
        for one in gone:
            one.retire(lambda one=one: self._close_later(one))  # type: ignore[misc]

    def _close_later(self, subchannel: Subchannel) -> None:
        if subchannel not in self._leaving:
            return
        self._leaving.remove(subchannel)
        task = asyncio.get_running_loop().create_task(subchannel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _failed(self, subchannel: Subchannel) -> None:
        if self.on_failure is not None:
            self.on_failure(subchannel)


class Attempts:
    """The Tritons that one request is given to, one after the other; `subchannel` is the current one."""

    __slots__ = ("_channel", "_deadline", "_model", "_tried", "subchannel")

    def __init__(self, channel: TritonChannel, model: str, timeout: float) -> None:
        self._channel = channel
        self._model = model
        self._deadline = time.monotonic() + timeout
        self._tried: list[Subchannel] = []
        first = channel.pick(model)
        if first is None:
            raise CallFailed(grpc.StatusCode.UNAVAILABLE, f"no Triton has {model}")
        self.subchannel = first

    @property
    def remaining(self) -> float:
        """Seconds."""
        return max(0.001, self._deadline - time.monotonic())

    def another(self, failure: CallFailed) -> bool:
        """Whether the request, of which nothing has come back, may be sent anew: to another Triton, which then is the
        current one, or where there is none to the same one, if that has done nothing of it.

        UNAVAILABLE means that it was lost, or not taken; any other failure would be the same elsewhere.
        """
        self._tried.append(self.subchannel)
        if failure.code is not grpc.StatusCode.UNAVAILABLE or len(self._tried) == _ATTEMPTS:
            return False
        following = self._channel.pick(self._model, self._tried)
        if following is None:
            return isinstance(failure, NotProcessed)
        metrics.TRITON_RETRIES.inc()
        self.subchannel = following
        return True


def _load(subchannel: Subchannel) -> int:
    return subchannel.in_flight
