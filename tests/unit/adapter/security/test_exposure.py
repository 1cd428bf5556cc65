"""Without keys a server is for its own machine only: where it listens, and under which names it answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.security.exposure import ExposureError, check_exposure, is_local_host_header, is_loopback
from adapter.security.keys import KeyRing, hash_key

LOCAL = ["127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "[::1]", "localhost", "LOCALHOST", "0:0:0:0:0:0:0:1"]
OPEN = [
    "0.0.0.0",
    "::",
    "",
    "192.168.1.5",
    "10.0.0.1",
    "fe80::1",
    "example.com",
    "localhost.example.com",
    "127.1.example",
]


@pytest.mark.parametrize("host", LOCAL)
def test_loopback(host: str) -> None:
    assert is_loopback(host)
    check_exposure(host, KeyRing([], None))


@pytest.mark.parametrize("host", OPEN)
def test_other_addresses_need_a_key(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ExposureError) as caught:
        check_exposure(host, KeyRing([], None))
    assert "tritongate keys new" in str(caught.value)
    check_exposure(host, KeyRing(["key"], None))


def test_a_keys_file_counts_by_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("# nothing\n")
    with pytest.raises(ExposureError) as caught:
        check_exposure("0.0.0.0", KeyRing([], file))
    assert str(file) in str(caught.value)
    file.write_text(hash_key("key") + "\n")
    check_exposure("0.0.0.0", KeyRing([], file))


@pytest.mark.parametrize(
    "header",
    ["localhost", "LocalHost", "localhost:8000", "127.0.0.1", "127.0.0.1:1", "127.0.0.2:80", "[::1]", "[::1]:8000"],
)
def test_names_of_this_machine(header: str) -> None:
    assert is_local_host_header(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        ":8000",
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "localhost.evil.example:80",
        "evil.example:localhost",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "0.0.0.0",
        "[::]",
        "192.168.1.5:8000",
        "localhost:80:80",
        "localhost, evil.example",
    ],
)
def test_other_names(header: str) -> None:
    assert not is_local_host_header(header)
