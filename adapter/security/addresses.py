"""Which network addresses a client may have this server connect to.

The tables are the IANA IPv4 and IPv6 Special-Purpose Address Registries, multicast and reserved space. They stand here
rather than in `ipaddress.is_global`, whose answers differ between the versions of Python that this project runs on.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NOT_PUBLIC_V4 = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers for NAT; also the metadata service of Alibaba Cloud
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform service: of public space, yet reached within every virtual machine
        "169.254.0.0/16",  # link-local; the metadata services of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; also the metadata service of Oracle Cloud
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, deprecated
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
]
# Everything outside is loopback, unspecified, IPv4-mapped or -compatible, unique local, link-local or site-local,
# multicast, or not assigned. NAT64 is looked at by itself.
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = [
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID, and others
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries an IPv4 address, deprecated
        "3ffe::/16",  # 6bone, returned
        "3fff::/20",  # documentation
    )
]
# In a network that has IPv6 only, public IPv4 addresses come out of the resolver in this form (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = 0x0000_5EFE  # the upper half of an interface identifier that carries an IPv4 address (RFC 5214)
_ISATAP_MASK = 0xFCFF_FFFF  # without the bits that say "universal" and "group"

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*\Z")


def is_public(address: IPAddress) -> bool:
    """Whether the address belongs to the public internet, and to nothing that only looks like it."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    if address not in _UNICAST_V6 or any(address in network for network in _NOT_PUBLIC_V6):
        return False
    return (int(address) >> 32) & _ISATAP_MASK != _ISATAP


@dataclass(frozen=True)
class AllowedHosts:
    """What the operator opens besides the public internet.

    names: lower-case host names; whatever they resolve to may be fetched from.
    networks: addresses that may be fetched from, whatever name led to them.
    """

    names: frozenset[str] = frozenset()
    networks: tuple[_Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> AllowedHosts:
        """From a comma-separated list of host names, addresses and networks (CIDR).

        Raises:
            ValueError: an entry is none of these; the message names it.
        """
        names, networks = set(), []
        for entry in filter(None, (part.strip() for part in text.split(","))):
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError as error:
                name = entry.lower().rstrip(".")
                # A last label of digits alone is an IPv4 address that has gone wrong, such as 10.0.0.1/8.
                if not _HOST_NAME.match(name) or name.rpartition(".")[2].isdigit():
                    raise ValueError(
                        f"{entry!r} is no host name, address or network (a network's host bits are zero: 10.0.0.0/8)"
                    ) from error
                names.add(name)
        return cls(frozenset(names), tuple(networks))

    def allow(self, host: str, address: IPAddress) -> bool:
        """Whether `address`, which the lower-case name `host` resolved to, is opened."""
        return host in self.names or any(address in network for network in self.networks)
