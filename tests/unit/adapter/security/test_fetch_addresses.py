"""Public addresses and all that are not: the IANA special-purpose registries, row by row."""

from __future__ import annotations

import ipaddress

import pytest

from adapter.security.addresses import AllowedHosts, is_public

NOT_PUBLIC = [
    *("0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "100.100.100.200"),
    *("127.0.0.0", "127.0.0.1", "127.255.255.255", "168.63.129.16", "169.254.0.0", "169.254.169.254"),
    *("169.254.255.255", "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.9", "192.0.0.192", "192.0.0.255"),
    *("192.0.2.0", "192.0.2.255", "192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255"),
    *("198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.255", "240.0.0.0", "255.255.255.255"),
    *("::", "::1", "::2", "::7f00:1", "::808:808", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8"),
    *("::ffff:0:8.8.8.8", "64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254"),
    *("64:ff9b:1::808:808", "100::1", "100:0:0:1::1", "2001::1", "2001:0:808:808::f7f7:f7f7", "2001:1::1"),
    *("2001:2::1", "2001:3::1", "2001:4:112::1", "2001:10::1", "2001:20::1", "2001:30::1", "2001:1ff:ffff::1"),
    *("2001:db8::1", "2001:db8:ffff::1", "2002::1", "2002:7f00:1::1", "2002:808:808::1", "3ffe::1", "3fff::1"),
    *("3fff:fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fdff:ffff::1"),
    *("fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1", "1::1", "200::1", "400::1", "8000::1"),
    *("2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:127.0.0.1", "2606:4700::100:5efe:10.0.0.1"),
    *("2606:4700::1%lo", "fe80::1%eth0"),
]
PUBLIC = [
    *("1.0.0.0", "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
    *("126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0"),
    *("172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.31.196.1", "192.52.193.1"),
    *("192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "192.175.48.1", "198.17.255.255"),
    *("198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255"),
    *("2000::1", "2001:200::1", "2001:4860:4860::8888", "2001:db7:ffff::1", "2001:db9::1", "2003::1"),
    *("2606:4700:4700::1111", "2620:4f:8000::1", "2a00:1450::1", "3ffd::1", "3fff:1000::1", "3fef::1"),
    *("64:ff9b::8.8.8.8", "2606:4700::5eff:10.0.0.1"),
]


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


def test_what_the_operator_opens() -> None:
    allowed = AllowedHosts.parse(" Minio.Internal. ,10.1.0.0/16,, fd00::/8, 127.0.0.1,s3_store")
    assert allowed.names == {"minio.internal", "s3_store"}
    assert allowed.allow("minio.internal", ipaddress.ip_address("192.168.1.1"))
    assert allowed.allow("any.example", ipaddress.ip_address("10.1.255.255"))
    assert allowed.allow("any.example", ipaddress.ip_address("fd12::1"))
    assert allowed.allow("127.0.0.1", ipaddress.ip_address("127.0.0.1"))
    for host, address in [("any.example", "10.2.0.0"), ("x.minio.internal", "192.168.1.1"), ("a", "127.0.0.2")]:
        assert not allowed.allow(host, ipaddress.ip_address(address))
    assert not allowed.allow("any.example", ipaddress.ip_address("::ffff:10.1.0.1"))


@pytest.mark.parametrize(
    "text", ["http://minio", "minio:9000", "10.0.0.1/8", "10.0.0.256", "a..b", "*.internal", "a b"]
)
def test_what_opens_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="is no host name, address or network"):
        AllowedHosts.parse(f"fine.example,{text}")
