from __future__ import annotations

import socket
from pathlib import Path

import pytest

from launcher.ports import PortTaken, free_ports, reason_taken, require_free


def test_free_ports_are_distinct_and_below_those_of_outgoing_connections() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(1024 <= port < first for port in ports)
    assert [reason_taken("127.0.0.1", port) for port in ports] == [None] * 20


def test_taken_port_is_told() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{port}: Address already in use.*--port"):
            require_free("127.0.0.1", port)
    require_free("127.0.0.1", port)


def test_address_of_another_machine_is_told() -> None:
    with pytest.raises(PortTaken, match="assign"):
        require_free("192.0.2.1", 8000)


def test_a_closed_connection_is_no_hindrance() -> None:
    """Connections in TIME_WAIT keep a port from being bound without SO_REUSEADDR."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        with socket.create_connection(address):
            accepted, _ = listener.accept()
            accepted.close()  # the side that closes first keeps the TIME_WAIT
    require_free(*address)
