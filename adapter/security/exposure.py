"""A server without keys is for this machine alone."""

from __future__ import annotations

import ipaddress

from adapter.security.keys import KeyRing


class ExposureError(Exception):
    """The server would be open to anybody; the message says how to give it a key."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, keys: KeyRing) -> None:
    """Raises ExposureError if anybody on the network could use a server that listens on `host`."""
    if is_loopback(host) or keys.count:
        return
    if keys.required:
        raise ExposureError(
            f"{keys.file} holds no key, so nobody could use this server.\n"
            f"Make one:   tritongate keys new --file {keys.file}"
        )
    raise ExposureError(
        f"{host} can be reached from other machines, and no API key is set: anybody could use this server.\n"
        "Make a key:   tritongate keys new --file keys.txt\n"
        "and serve with it:   --api-keys-file keys.txt (or the key itself in TRITONGATE_API_KEYS)\n"
        "or listen on this machine only:   --host 127.0.0.1"
    )


def is_local_host_header(value: str) -> bool:
    """Whether a Host header names this machine.

    A server without keys takes no other: a web page that has its own name point to 127.0.0.1 could use it otherwise.
    """
    host = value.rpartition(":")[0] if value.rpartition(":")[2].isdigit() else value
    return is_loopback(host.strip())
