"""Sealed content: what comes back, and all the ways in which it does not."""

from __future__ import annotations

import re
import secrets
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.security import sealing
from adapter.security.sealing import SealBroken, Sealer

SEALER = Sealer(bytes(range(32)))


@given(st.text(), st.text(), st.binary())
def test_what_was_sealed_is_opened(owner: str, kind: str, payload: bytes) -> None:
    text = SEALER.seal(owner, kind, payload)
    assert re.fullmatch(r"v1\.[A-Za-z0-9_-]+", text)
    assert SEALER.open(owner, kind, text) == payload


def test_text_is_sealed_as_utf_8_and_packed() -> None:
    reasoning = "Erwägung, noch einmal. " * 4000
    text = SEALER.seal("key", "reasoning", reasoning)
    assert SEALER.open("key", "reasoning", text).decode() == reasoning
    assert len(text) < len(reasoning) / 50


def test_the_same_content_is_sealed_anew_each_time() -> None:
    assert SEALER.seal("", "reasoning", "x") != SEALER.seal("", "reasoning", "x")


@pytest.mark.parametrize(
    ("owner", "kind"), [("b", "reasoning"), ("a", "compaction"), ("", "areasoning"), ("areasoning", "")]
)
def test_another_owner_or_kind_opens_nothing(owner: str, kind: str) -> None:
    text = SEALER.seal("a", "reasoning", "x")
    with pytest.raises(SealBroken):
        SEALER.open(owner, kind, text)


def test_another_secret_opens_nothing() -> None:
    with pytest.raises(SealBroken):
        Sealer(secrets.token_bytes(32)).open("a", "k", SEALER.seal("a", "k", "x"))


def test_every_changed_character_breaks_the_seal() -> None:
    text = SEALER.seal("a", "k", b"content!")  # 37 bytes: the last character has bits that are not used
    for index in range(len(text) - 1):
        changed = text[:index] + ("B" if text[index] != "B" else "C") + text[index + 1 :]
        with pytest.raises(SealBroken):
            SEALER.open("a", "k", changed)


@pytest.mark.parametrize(
    "text", ["", "v1.", "v1", "v2.AAAA", "v1.A", "v1.AAAA", "v1.=", "v1.ü", "v1. ", "gAAAAAB", "v1." + "A" * 400]
)
def test_what_was_never_sealed(text: str) -> None:
    with pytest.raises(SealBroken):
        SEALER.open("a", "k", text)
    with pytest.raises(SealBroken):
        SEALER.open("a", "k", SEALER.seal("a", "k", "x")[:-4])


def test_content_is_bounded_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    fits, larger = SEALER.seal("", "k", bytes(1000)), SEALER.seal("", "k", bytes(1001))
    monkeypatch.setattr(sealing, "MOST_BYTES", 1000)
    assert SEALER.open("", "k", fits) == bytes(1000)
    with pytest.raises(SealBroken):
        SEALER.open("", "k", larger)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        SEALER.seal("", "k", bytes(1001))


@pytest.mark.parametrize(
    "plain", [b"\1" + zlib.compress(b"x" * 99)[:-5], b"\1no zlib", b"\1", b"\2" + zlib.compress(b"x")]
)
def test_content_that_was_packed_otherwise(plain: bytes) -> None:
    nonce = bytes(12)
    sealed = nonce + SEALER._cipher.encrypt(nonce, plain, sealing._bound("", "k"))
    with pytest.raises(SealBroken):
        SEALER.open("", "k", "v1." + sealing.base64.urlsafe_b64encode(sealed).rstrip(b"=").decode())


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_secret_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(bytes(size))
