"""The setting that says where Tritons are."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from adapter.triton.targets import MOST_TARGETS, Target, parse_targets, resolve


def test_one_and_several() -> None:
    assert parse_targets("grpc://a.example:8001") == (Target("a.example", 8001, False, "a.example"),)
    text = "grpc://a:1, grpcs://b:2,grpc+dns://c:3,grpcs+dns://d.e:4,grpc://[::1]:5,grpc://a:1"
    assert parse_targets(text) == (
        Target("a", 1, False, "a"),
        Target("b", 2, True, "b"),
        Target("c", 3, False, "c", dns=True),
        Target("d.e", 4, True, "d.e", dns=True),
        Target("::1", 5, False, "::1"),
    )
    assert ",".join(map(str, parse_targets(text))) == text.replace(" ", "").removesuffix(",grpc://a:1")
    assert [target.label for target in parse_targets("grpc://[::1]:5,grpc://a:1")] == ["[::1]:5", "a:1"]


@pytest.mark.parametrize(
    "text",
    [
        *["", ",", "grpc://a:1,", "a:1", "http://a:1", "grpc://a", "grpc://a:1/", "grpc://a:0", "grpc://a:65536"],
        *["grpc://:1", "dns://a:1", "grpc+srv://a:1", "grpc://a:1 grpc://b:1", "grpc://a:1,http://b:1"],
        ",".join(f"grpc://a{number}:1" for number in range(MOST_TARGETS + 1)),
    ],
)
def test_other_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r"form|at most"):
        parse_targets(text)


async def test_each_address_of_a_name_is_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        assert (host, port) == ("triton.example", 8001)
        addresses: list[Any] = [("10.0.0.2", port), ("10.0.0.1", port), ("10.0.0.2", port), ("fd00::1", port, 0, 0)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    (target,) = parse_targets("grpcs+dns://triton.example:8001")
    hosts = ["10.0.0.1", "10.0.0.2", "fd00::1"]
    assert await resolve(target) == tuple(Target(host, 8001, True, "triton.example") for host in hosts)
