"""The guard, around shell scripts in Triton's place."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import guard

OBSTINATE = "trap '' TERM; sleep 300 & echo $! >{children}; while :; do sleep 0.05; done"
OBEDIENT = "trap 'exit 7' TERM; sleep 300 & echo $! >{children}; while :; do sleep 0.05; done"
CRASHING = "sleep 300 & echo $! >{children}; kill -SEGV $$"


@pytest.fixture
def prefix() -> Iterator[str]:
    prefix = f"tritongate-{os.getuid()}-{secrets.token_hex(6)}"
    Path(guard.SHM, f"{prefix}abc").write_bytes(b"x")
    yield prefix
    guard.clear_shm(prefix)


class Guarded:
    """A guard around `script`, whose child processes write their ids to a file."""

    def __init__(self, folder: Path, prefix: str, script: str, grace: float = 5.0) -> None:
        self.children = folder / "children"
        self.prefix = prefix
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", guard.__file__, "--shm-prefix", prefix, "--grace", str(grace)),
                *("--", "/bin/sh", "-c", script.format(children=self.children)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert self.process.stdout is not None
        word, self.pid = self.process.stdout.readline().split()
        assert word == b"pid"

    def child(self) -> int:
        deadline = time.monotonic() + 10
        while not (self.children.exists() and self.children.read_text().strip()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return int(self.children.read_text())

    def order(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word.encode() + b"\n")

    def outcome(self, timeout: float = 15.0) -> str:
        """What the guard reports at its end, when nothing may be left."""
        assert self.process.stdout is not None
        child = self.child()
        rest = self.process.stdout.read().decode().strip()
        self.process.wait(timeout)
        assert not Path(f"/proc/{child}").exists()
        assert not Path(f"/proc/{int(self.pid)}").exists()
        assert not [name for name in os.listdir(guard.SHM) if name.startswith(self.prefix)]
        return rest


def test_clean_stop(tmp_path: Path, prefix: str) -> None:
    guarded = Guarded(tmp_path, prefix, OBEDIENT)
    guarded.child()
    guarded.order("stop")
    assert guarded.outcome() == "exit 7"


def test_stop_becomes_a_kill_after_the_grace(tmp_path: Path, prefix: str) -> None:
    guarded = Guarded(tmp_path, prefix, OBSTINATE, grace=0.5)
    guarded.child()
    guarded.order("stop")
    assert guarded.outcome() == "exit -9"


def test_kill_cuts_a_clean_stop_short(tmp_path: Path, prefix: str) -> None:
    guarded = Guarded(tmp_path, prefix, OBSTINATE, grace=600.0)
    guarded.child()
    guarded.order("stop")
    time.sleep(0.2)
    assert guarded.process.poll() is None
    guarded.order("kill")
    assert guarded.outcome() == "exit -9"


def test_launcher_gone(tmp_path: Path, prefix: str) -> None:
    guarded = Guarded(tmp_path, prefix, OBEDIENT, grace=600.0)
    guarded.child()
    assert guarded.process.stdin is not None
    guarded.process.stdin.close()
    assert guarded.outcome() == "exit 7"


def test_launcher_gone_during_a_clean_stop(tmp_path: Path, prefix: str) -> None:
    """The time that is left shrinks to what an orphan has."""
    guarded = Guarded(tmp_path, prefix, OBSTINATE, grace=600.0)
    guarded.child()
    guarded.order("stop")
    time.sleep(0.1)
    assert guarded.process.stdin is not None
    guarded.process.stdin.close()
    assert guarded.outcome(timeout=guard.ORPHAN_GRACE + 15) == "exit -9"


def test_guard_told_to_end(tmp_path: Path, prefix: str) -> None:
    guarded = Guarded(tmp_path, prefix, OBEDIENT, grace=600.0)
    guarded.child()
    guarded.process.send_signal(signal.SIGTERM)
    assert guarded.outcome() == "exit 7"


def test_crash_takes_the_rest_along(tmp_path: Path, prefix: str) -> None:
    assert Guarded(tmp_path, prefix, CRASHING).outcome() == "exit -11"


def test_program_that_cannot_be_started(prefix: str) -> None:
    command = [sys.executable, "-I", "-S", guard.__file__, "--shm-prefix", prefix, "--grace", "1", "--", "/no/such"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read().splitlines()[-1] == "exit 127"
        assert "/no/such" in process.stderr.read()


def test_other_segments_are_left_alone(prefix: str) -> None:
    other = Path(guard.SHM, f"tritongate-{os.getuid()}-{secrets.token_hex(6)}")
    other.write_bytes(b"x")
    try:
        assert guard.clear_shm(prefix) == 1
        assert other.exists()
    finally:
        other.unlink()
