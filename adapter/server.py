"""Runs the application with uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from adapter.app import create_app
from adapter.security.exposure import check_exposure
from adapter.security.keys import KeyRing
from adapter.settings import Settings
from adapter.telemetry import logs

logger = logging.getLogger("tritongate.server")

_BACKLOG = 1024
_ENDED_WITHIN = 5  # seconds that answers have to end when they are cancelled at a stop
_KEEP_ALIVE = 75  # seconds; longer than the usual load balancer's, so that it is the one to close


def serve(settings: Settings, on_ready: Callable[[str], None] = lambda url: None) -> None:
    """Serves until SIGINT or SIGTERM, then lets open answers finish and returns. A second SIGINT ends those too.

    Args:
        on_ready: called once with the base URL, such as `http://127.0.0.1:8000/v1`, when the socket listens and the
            models have been read from Triton.

    Raises:
        ExposureError: no key on an address that others can reach.
        KeysFileError: the keys file cannot be used.
        SystemExit: the address cannot be listened on.
    """
    keys = KeyRing.load(settings.api_keys, settings.api_keys_file)
    check_exposure(settings.host, keys)
    logs.configure(settings.log_level, settings.log_format)
    app = create_app(settings, keys)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=settings.max_body_bytes,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        # Ours comes first, and says what it does in one line; this is for what does not end when it is cancelled.
        timeout_graceful_shutdown=math.ceil(settings.shutdown_timeout) + _ENDED_WITHIN,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    _Server(config, app, on_ready, settings.shutdown_timeout).run()


def _is_news(record: logging.LogRecord) -> bool:
    """Whether the front door's line of the request does not say it already: it has the reason, and the request id."""
    return record.getMessage() != "ASGI callable returned without completing response."


class _Server(uvicorn.Server):
    """uvicorn's server, which after a signal returns to its caller instead of raising the signal again.

    Args:
        patience: seconds that open answers have at a stop.
    """

    def __init__(self, config: uvicorn.Config, app: Any, on_ready: Callable[[str], None], patience: float) -> None:
        super().__init__(config)
        self._patience = patience
        self._app = app
        self._on_ready = on_ready
        self._announcing: asyncio.Task[None] | None = None

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            # What is there now stays: the collector need not look at it again, some 50 us a request.
            gc.collect()
            gc.freeze()
            self._announcing = asyncio.get_running_loop().create_task(self._announce())

    async def shutdown(self, sockets: Any = None) -> None:
        if self._announcing is not None:
            self._announcing.cancel()
        if self.server_state.tasks:
            fields = {"open": len(self.server_state.tasks), "seconds": self._patience}
            logger.info("stopping: open answers may finish; Ctrl-C again ends them", extra={"fields": fields})
        self._app.state.services.runs.expect_stop()
        ending = asyncio.get_running_loop().create_task(self._end_open_answers())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    async def _end_open_answers(self) -> None:
        await asyncio.sleep(self._patience)
        if self.server_state.tasks:
            fields = {"ended": len(self.server_state.tasks), "seconds": self._patience}
            logger.warning("stopping: answers that were still open are ended", extra={"fields": fields})
        for task in self.server_state.tasks:
            task.cancel()

    async def _announce(self) -> None:
        await self._app.state.services.registry.seen.wait()
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        # The wildcard addresses are no place to connect to; this machine answers for them.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self._on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/v1")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        earlier = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)
