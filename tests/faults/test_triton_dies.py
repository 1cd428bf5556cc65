"""Triton, its Python processes and its guard, killed: noticed, cleared and started again by the supervisor."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from launcher.guard import SHM
from launcher.processes import Process, processes_of
from launcher.triton_server import TritonFailed, TritonServer
from tests.support.echo import REPOSITORY, ask
from tests.support.serve_process import remains, wait_until

RESTART = 60.0  # seconds


@pytest.fixture
def lines() -> list[str]:
    """What the supervisor has said."""
    return []


@pytest.fixture
def server(tmp_path: Path, lines: list[str]) -> Iterator[TritonServer]:
    with TritonServer([REPOSITORY], tmp_path, notify=lines.append) as server:
        yield server
    assert remains(server.shm_prefix) == []


def find(server: TritonServer, wanted: Callable[[Process], bool]) -> Process:
    return next(process for process in processes_of(server.shm_prefix) if wanted(process))


def guard_of(server: TritonServer) -> Process:
    return find(server, lambda process: not process.is_stub and process.pid != server.pid)


def kill_and_await(server: TritonServer, pid: int) -> None:
    starts = server.starts
    os.kill(pid, signal.SIGKILL)
    server.wait_restarted(starts, RESTART)


def test_starts_answers_and_leaves_nothing(server: TritonServer, lines: list[str]) -> None:
    assert server.ready and server.starts == 1
    assert lines == ["loaded echo"]
    assert ask(server.http_url, "grüezi") == "grüezi"


def test_killed_server(server: TritonServer, lines: list[str]) -> None:
    pid, ports = server.pid, dict(server.ports)
    stub = find(server, lambda process: process.is_stub).pid
    segments = set(os.listdir(SHM))
    segments = {name for name in segments if name.startswith(server.shm_prefix)}
    assert segments
    kill_and_await(server, pid)
    assert server.pid != pid and server.ports == ports
    assert ask(server.http_url, "again") == "again"
    assert not Path(f"/proc/{stub}").exists()
    assert segments.isdisjoint(os.listdir(SHM))
    assert "Triton ended (exit code -9); starting Triton again in 0.5 s" in lines


def test_killed_python_process_of_a_model(server: TritonServer, lines: list[str]) -> None:
    kill_and_await(server, find(server, lambda process: process.is_stub).pid)
    assert ask(server.http_url, "again") == "again"
    assert any(line.startswith("a Python process of model echo ended") for line in lines)


def test_model_that_ends_its_own_process(server: TritonServer) -> None:
    starts = server.starts
    with pytest.raises(httpx.HTTPError):
        ask(server.http_url, "die", timeout=RESTART)
    server.wait_restarted(starts, RESTART)
    assert ask(server.http_url, "again") == "again"


def test_killed_guard(server: TritonServer, lines: list[str]) -> None:
    old = {process.pid for process in processes_of(server.shm_prefix)}
    kill_and_await(server, guard_of(server).pid)
    assert ask(server.http_url, "again") == "again"
    now = {process.pid for process in processes_of(server.shm_prefix)}
    assert len(now) == 3 and now.isdisjoint(old)
    assert any(line.startswith("Triton's guard ended") for line in lines)


def test_delay_grows_while_it_keeps_dying(server: TritonServer, lines: list[str]) -> None:
    for _ in range(3):
        kill_and_await(server, server.pid)
    delays = [float(found.group(1)) for line in lines if (found := re.search(r"again in ([\d.]+) s", line))]
    assert delays == [0.5, 1.0, 2.0]


def test_stop_while_it_is_being_restarted(tmp_path: Path, lines: list[str]) -> None:
    server = TritonServer([REPOSITORY], tmp_path, notify=lines.append)
    server.start()
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: any("again in" in line for line in lines), 10.0, "the end went unnoticed")
    server.stop()
    assert remains(server.shm_prefix) == []
    assert not server.ready


def test_stop_twice(tmp_path: Path) -> None:
    server = TritonServer([REPOSITORY], tmp_path)
    server.start()
    server.stop()
    server.stop()
    assert remains(server.shm_prefix) == []
    assert not (tmp_path / "triton.json").exists()


def test_another_server_on_the_port_is_not_taken_for_ours(server: TritonServer, tmp_path: Path) -> None:
    second = TritonServer([REPOSITORY], tmp_path / "second", http_port=server.ports["http"])
    with pytest.raises(TritonFailed):
        second.start()
    assert second.starts == 0
    assert remains(second.shm_prefix) == []
    assert ask(server.http_url, "still here") == "still here"
