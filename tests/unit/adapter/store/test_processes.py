"""Several real processes on one database, and the sudden end of one."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from adapter.store.store import Store
from tests.unit.adapter.store.conftest import OpenStore
from tests.unit.adapter.store.records import events, finish, insert, message

ROOT = Path(__file__).parents[4]
WORKER = "tests.unit.adapter.store.worker"


def start(task: str, url: str, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", WORKER, task, url, name], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def results(*processes: subprocess.Popen[str]) -> list[list[str]]:
    """The lines that each prints. Fails when one fails."""
    printed = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return printed


@contextlib.contextmanager
def killed(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """kill -9, at the end of the block."""
    with process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def test_processes_that_start_at_once_migrate_once(empty_url: str) -> None:
    secrets = results(*(start("secret", empty_url, str(number)) for number in range(3)))
    assert secrets[0] != [] and secrets == [secrets[0]] * 3


async def test_processes_write_at_the_same_time(url: str, open_store: OpenStore) -> None:
    store = await open_store()
    writers = [start("write", url, name) for name in ("a", "b")]
    for number in range(25):
        await insert(store, f"resp_c_{number}")
    results(*writers)
    for name in ("a", "b", "c"):
        for number in range(25):
            assert await store.responses.get("ann", f"resp_{name}_{number}") is not None
    assert await store.events.read("ann", "resp_a_24", -1, 99) == events(0, 12)


async def test_response_of_a_killed_process_fails_once(url: str, open_store: OpenStore) -> None:
    store = await open_store()
    with killed(start("run", url, "lost")) as process:
        assert process.stdout is not None and process.stdout.readline() == "running\n"
    found = results(*(start("fail", url, str(number)) for number in range(2)))
    assert sorted(found) == [[], ["resp_lost"]]
    kept = await store.responses.get("ann", "resp_lost")
    assert kept is not None and (kept.running, kept.body["status"]) == (False, "failed")
    stream = await store.events.read("ann", "resp_lost", -1, 99)
    assert [(type_, number) for type_, number, _ in stream[3:]] == [
        ("response.output_text.delta", 3),
        ("response.failed", 4),
    ]


async def test_kill_in_the_middle_of_writing(url: str) -> None:
    with killed(start("write-forever", url, "w")) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(12)]
    assert all(told)
    store = await Store.open(url, ttl=3600.0, max_bytes=1 << 30)
    for response_id in told:
        record = await store.responses.get("ann", response_id)
        assert record is not None and not record.running
        assert record.body["output"] == [message(f"out_{response_id}")]
        assert await store.events.read("ann", response_id, -1, 99) == events(0, 12)
    await insert(store, "resp_after", message("msg_1"))
    assert await finish(store, "resp_after")
    await store.close()
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
