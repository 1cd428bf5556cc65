"""TCP ports: free ones for Triton, and whether the one that a person chose can be had."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from launcher.errors import LauncherError

LOOPBACK = "127.0.0.1"
ATTEMPTS = 200


class PortTaken(LauncherError):
    """The address cannot be listened on; the message says why and what to do."""


def free_ports(count: int) -> list[int]:
    """Distinct ports of the loopback address that nothing listens on at this moment.

    They lie below the range from which the system takes the ports of outgoing connections. Inside it, a client
    that keeps trying to reach a stopped Triton can be given Triton's own port, connect to itself, and so keep
    the restarted Triton from listening.
    """
    below = _first_ephemeral()
    found: set[int] = set()
    for _ in range(ATTEMPTS):
        if len(found) == count:
            return list(found)
        port = random.randrange(max(1024, below - 20000), below)
        if reason_taken(LOOPBACK, port) is None:
            found.add(port)
    raise PortTaken(f"found no {count} free ports on {LOOPBACK}")


def require_free(host: str, port: int) -> None:
    """Raises `PortTaken` if `host:port` cannot be listened on; port 0 always can.

    Raises:
        PortTaken: something listens there, it needs privileges, or the address is not one of this machine.
    """
    reason = reason_taken(host, port)
    if reason is not None:
        raise PortTaken(f"cannot listen on {host}:{port}: {reason}; choose another with --port (or --host)")


def reason_taken(host: str, port: int) -> str | None:
    """Why `host:port` cannot be listened on, in the system's words; None if it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: connections of an earlier run that linger in TIME_WAIT are no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _first_ephemeral() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32768
    return first if first > 2048 else 32768
