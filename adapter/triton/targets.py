"""Where Tritons are: the setting `TRITONGATE_TRITON_URL`, and the names in it that stand for several addresses.

The forms, of which a list may hold several, comma-separated:

- `grpc://host:port`, `grpcs://host:port` (TLS): one Triton.
- `grpc+dns://name:port`, `grpcs+dns://name:port`: one at each address that the name has, such as that of a headless
  service. A certificate is for the name.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass

MOST_TARGETS = 256  # more addresses of one setting are left out

_FORM = re.compile(r"(grpcs?)(\+dns)?://(\[[0-9A-Fa-f:.]+\]|[^\s:/,\[\]]+):([0-9]{1,5})\Z")
FORMS = "grpc://host:port, grpcs://host:port, grpc+dns://name:port or grpcs+dns://name:port"


@dataclass(frozen=True)
class Target:
    """One address; `name` is what the server is called in its certificate. `dns`: the host stands for several."""

    host: str
    port: int
    tls: bool
    name: str
    dns: bool = False

    @property
    def label(self) -> str:
        """`host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """The URL."""
        return f"grpc{'s' if self.tls else ''}{'+dns' if self.dns else ''}://{self.label}"


def parse_targets(text: str) -> tuple[Target, ...]:
    """The targets of the setting, in its order, each once.

    Raises:
        ValueError: a part of it has none of the forms above; the message names it.
    """
    found: dict[Target, None] = {}
    for part in text.split(","):
        form = _FORM.match(part.strip())
        if form is None or not 0 < int(form[4]) < 65536:
            raise ValueError(f"{part.strip()!r} is not of the form {FORMS}")
        host = form[3].strip("[]")
        found[Target(host, int(form[4]), form[1] == "grpcs", host, bool(form[2]))] = None
    if len(found) > MOST_TARGETS:
        raise ValueError(f"{len(found)} addresses; at most {MOST_TARGETS} are possible")
    return tuple(found)


async def resolve(target: Target) -> tuple[Target, ...]:
    """One target for each address that the name of `target` has now, in the order of the addresses.

    Raises:
        OSError: the name cannot be looked up; UnicodeError: it cannot be one.
    """
    loop = asyncio.get_running_loop()
    answers = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    hosts = sorted({str(address[0]) for *_, address in answers})
    return unique(Target(host, target.port, target.tls, target.name) for host in hosts)


def unique(targets: Iterable[Target]) -> tuple[Target, ...]:
    """Each once, and not more than there may be."""
    return tuple(dict.fromkeys(targets))[:MOST_TARGETS]
