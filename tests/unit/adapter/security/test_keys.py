"""API keys: hashed, compared in constant time, read again when their file changes."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from pathlib import Path

import pytest

from adapter.security import keys as keys_module
from adapter.security.keys import KeyRing, KeysFileError, generate_key, hash_key


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Set `clock[0]` to go forward in time."""
    now = [1000.0]
    monkeypatch.setattr(keys_module.time, "monotonic", lambda: now[0])
    return now


def write(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_new_keys_are_long_and_different() -> None:
    made = {generate_key() for _ in range(50)}
    assert len(made) == 50
    assert all(key.startswith("tg-") and len(key) == 46 and key.isascii() and key.isprintable() for key in made)


def test_a_hash_is_what_anybody_can_compute() -> None:
    assert hash_key("secret") == "sha256:" + hashlib.sha256(b"secret").hexdigest()


def test_a_given_key_opens() -> None:
    ring = KeyRing(["one", "two"], None)
    assert ring.required and ring.count == 2
    one, two = ring.identify("one"), ring.identify("two")
    assert one is not None and two is not None and one.id != two.id
    assert "one" not in repr(one)
    for wrong in ("", "On", "ONE", "one ", "three", hash_key("one"), "\udcff", "ü"):
        assert ring.identify(wrong) is None, wrong


def test_without_keys_none_is_needed() -> None:
    ring = KeyRing([], None)
    assert not ring.required and ring.count == 0


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With hmac.compare_digest, on digests, and always with all of them."""
    ring = KeyRing(["a", "b"], write(tmp_path / "keys", hash_key("c"), hash_key("d")))
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(keys_module.hmac, "compare_digest", noted)
    for key in ("a", "d", "wrong"):
        compared.clear()
        ring.identify(key)
        assert len(compared) == 4
        assert all(other == hashlib.sha256(key.encode()).digest() for _, other in compared)


def test_a_keys_file(tmp_path: Path) -> None:
    file = write(
        tmp_path / "keys",
        "# made by tritongate keys new",
        "",
        hash_key("one"),
        f"  {hash_key('two')}  laptop of Zoë, # not a comment  ",
        f"{hash_key('three')}\tname",
    )
    ring = KeyRing([], file)
    assert ring.count == 3
    assert all(ring.identify(key) for key in ("one", "two", "three"))


@pytest.mark.parametrize(
    "line",
    ["secret", "sha256:abc", "sha256:" + "g" * 64, hash_key("x").upper(), hash_key("x") + "name", "md5:" + "0" * 32],
)
def test_a_line_that_is_no_hashed_key(tmp_path: Path, line: str) -> None:
    file = write(tmp_path / "keys", hash_key("one"), "", line)
    with pytest.raises(KeysFileError) as caught:
        KeyRing([], file)
    assert "line 3" in str(caught.value) and str(file) in str(caught.value)
    assert line not in str(caught.value)  # it may be the key itself


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with (tmp_path / "large").open("wb") as file:
        file.truncate((1 << 20) + 1)
    for name in ("absent", "binary", "large", "."):
        with pytest.raises(KeysFileError):
            KeyRing([], tmp_path / name)


def test_a_changed_file_is_read_again(tmp_path: Path, clock: list[float]) -> None:
    file = write(tmp_path / "keys", hash_key("old"))
    ring = KeyRing(["given"], file)
    assert ring.identify("old")
    write(file, hash_key("new"), hash_key("newer"))
    clock[0] += 2
    assert ring.identify("old") is None
    assert ring.identify("new") and ring.identify("newer") and ring.identify("given")
    assert ring.count == 3


def test_the_file_is_looked_at_once_a_second(tmp_path: Path, clock: list[float]) -> None:
    file = write(tmp_path / "keys", hash_key("old"))
    ring = KeyRing([], file)
    clock[0] += 2
    ring.identify("old")
    write(file, hash_key("new"), hash_key("newer"))
    clock[0] += 0.5
    assert ring.identify("old")
    clock[0] += 0.6
    assert ring.identify("old") is None


def test_a_file_in_place_of_another_of_the_same_size_and_age(tmp_path: Path, clock: list[float]) -> None:
    file = write(tmp_path / "keys", hash_key("old"))
    ring = KeyRing([], file)
    before = file.stat()
    other = write(tmp_path / "other", hash_key("new"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, file)
    clock[0] += 2
    assert ring.identify("new") and ring.identify("old") is None


def test_a_file_that_becomes_empty_locks_the_door(tmp_path: Path, clock: list[float]) -> None:
    file = write(tmp_path / "keys", hash_key("one"))
    ring = KeyRing([], file)
    write(file, "# nobody")
    clock[0] += 2
    assert ring.identify("one") is None
    assert ring.required and ring.count == 0


@pytest.mark.parametrize("broken", ["nonsense", None])
def test_a_file_that_breaks_leaves_the_earlier_keys(
    tmp_path: Path, clock: list[float], caplog: pytest.LogCaptureFixture, broken: str | None
) -> None:
    file = write(tmp_path / "keys", hash_key("one"))
    ring = KeyRing([], file)
    if broken is None:
        file.unlink()
    else:
        write(file, hash_key("two"), broken)
    clock[0] += 2
    with caplog.at_level(logging.ERROR, "tritongate.keys"):
        assert ring.identify("one") and ring.identify("two") is None
    assert "not read again" in caplog.text
    write(file, hash_key("two"))
    clock[0] += 2
    assert ring.identify("two") and ring.identify("one") is None


def test_keys_of_the_settings(tmp_path: Path) -> None:
    file = write(tmp_path / "keys", hash_key("filed"))
    ring = KeyRing.load(" one, two ,,", file)
    assert ring.count == 3
    assert all(ring.identify(key) for key in ("one", "two", "filed"))
    assert not KeyRing.load(" , ", None).required
