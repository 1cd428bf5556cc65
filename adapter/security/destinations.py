"""Where this server connects to when a client names a host: public addresses, and what the operator has opened."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Set as AbstractSet

from adapter.security.addresses import AllowedHosts, IPAddress, is_public
from adapter.security.resolver import Resolve, SystemResolver

CONNECT_TIMEOUT = 5.0
"""Seconds for one address; also for the look-up of a name."""
MOST_ADDRESSES = 3
"""Of one host that are tried in turn."""
_PORTS = {"http": 80, "https": 443}


class RefusedDestination(Exception):
    """The message is a predicate of the URL, and does not tell why a name leads to no public address."""


class Destinations:
    """Args:
    allowed: hosts and networks besides the public internet.
    ports: that are connected to.
    resolve: names to addresses; the system's resolver if None.
    """

    def __init__(self, allowed: AllowedHosts, ports: AbstractSet[int], resolve: Resolve | None = None) -> None:
        self._allowed = allowed
        self._ports = ports
        self._own_resolver = SystemResolver() if resolve is None else None
        self._resolve: Resolve = resolve or self._own_resolver  # type: ignore[assignment]  # one of them is there

    async def addresses(self, scheme: str, host: str, port: int | None) -> list[IPAddress]:
        """One address at least, in the order to try them: all may be connected to. Exactly these are to be used, as
        the name may lead elsewhere in the next moment.

        Args:
            scheme: http or https.
            host: ASCII, lower-case, without the root's dot.
            port: None: the scheme's own.

        Raises:
            RefusedDestination
        """
        port = _PORTS[scheme] if port is None else port
        if port not in self._ports:
            ports = ", ".join(str(port) for port in sorted(self._ports))
            raise RefusedDestination(f"names a port that this server does not fetch from (it does from {ports})")
        try:
            addresses = [ipaddress.ip_address(host)]
        except ValueError:
            try:
                addresses = await asyncio.wait_for(self._resolve(host), CONNECT_TIMEOUT)
            except (OSError, asyncio.TimeoutError):
                addresses = []
        if not addresses or not all(is_public(item) or self._allowed.allow(host, item) for item in addresses):
            raise RefusedDestination("names a host that has no address on the public internet")
        return addresses[:MOST_ADDRESSES]

    def close(self) -> None:
        if self._own_resolver is not None:
            self._own_resolver.close()
