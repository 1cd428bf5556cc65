from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import guard
from launcher.processes import processes_of
from launcher.state import RECORD, StateBusy, StateLock, clear_leftovers, forget, remember
from tests.support.impostor import impostor


def new_prefix() -> str:
    return f"tritongate-{os.getuid()}-{secrets.token_hex(6)}"


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = StateLock(tmp_path / "run"), StateLock(tmp_path / "run")
    with first, pytest.raises(StateBusy, match=f"process {os.getpid()}.*--state-dir"):
        second.__enter__()
    with second:
        pass


def test_a_holder_that_was_killed_holds_no_more(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys, launcher.state as s;"
        "lock = s.StateLock(pathlib.Path(sys.argv[1])); lock.__enter__(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], timeout=30).returncode == -9
    with StateLock(tmp_path):
        pass


@pytest.mark.parametrize("name", ["triton_python_backend_stub", "tritonserver"])
def test_leftovers_are_cleared_by_their_prefix(tmp_path: Path, name: str) -> None:
    prefix, foreign = new_prefix(), new_prefix()
    segment = Path(guard.SHM, f"{prefix}segment")
    segment.write_bytes(b"x")
    try:
        with impostor(name, prefix) as ours, impostor(name, foreign) as theirs:
            remember(tmp_path, prefix, {"grpc": 1}, 2)
            assert clear_leftovers(tmp_path) == (1, 1)
            assert ours.wait(5) == -9
            assert theirs.poll() is None
            assert not segment.exists()
            assert not (tmp_path / RECORD).exists()
            assert clear_leftovers(tmp_path) == (0, 0)
    finally:
        segment.unlink(missing_ok=True)


def test_a_process_that_only_mentions_the_prefix_is_not_touched() -> None:
    prefix = new_prefix()
    with impostor("editor", prefix):
        assert list(processes_of(prefix)) == []


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{",
        "[]",
        '"x"',
        json.dumps({"shm_prefix": ""}),
        json.dumps({"shm_prefix": "tritongate-"}),
        json.dumps({"shm_prefix": 3}),
    ],
)
def test_damaged_record_clears_nothing(tmp_path: Path, record: str) -> None:
    (tmp_path / RECORD).write_text(record)
    assert clear_leftovers(tmp_path) == (0, 0)


def test_a_prefix_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="not a prefix of ours"):
        list(processes_of(""))


def test_record_is_removed(tmp_path: Path) -> None:
    remember(tmp_path, new_prefix(), {}, 0)
    forget(tmp_path)
    forget(tmp_path)
    assert os.listdir(tmp_path) == []
