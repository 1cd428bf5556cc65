"""Host names to addresses, apart from everything else that threads do here."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from adapter.security.addresses import IPAddress

Resolve = Callable[[str], Awaitable[list[IPAddress]]]
"""Takes an ASCII host name, gives its addresses in the order to try them; raises OSError if it has none."""


class SystemResolver:
    """The system's resolver, in threads of its own: a name server that is silent holds up other look-ups only."""

    def __init__(self, threads: int = 8) -> None:
        self._threads = ThreadPoolExecutor(threads, "resolver")

    async def __call__(self, host: str) -> list[IPAddress]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host)

    def close(self) -> None:
        """Takes no more names. What a name server is still asked for is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str) -> list[IPAddress]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # an empty label, or one that is too long
        raise OSError(str(error)) from error
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))
