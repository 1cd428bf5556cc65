"""`tritongate serve` killed or told to stop, at every stage: nothing of its Triton stays behind."""

from __future__ import annotations

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from launcher.processes import processes_of
from launcher.triton_server import TritonServer
from tests.support.echo import REPOSITORY, ask, repository_with
from tests.support.serve_process import READY, ServeProcess, remains, wait_until

GONE = 20.0  # seconds


def serve(folder: Path, repository: Path = REPOSITORY) -> ServeProcess:
    return ServeProcess(folder, f"--repository={repository}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    with serve(tmp_path) as served:
        served.wait_for(READY)
        prefix = served.prefix
        assert len(list(processes_of(prefix))) == 3
        served.send(number)
        assert served.wait() == 0
        assert remains(prefix) == []
        assert "Traceback" not in served.err


def test_told_to_stop_while_a_model_loads(tmp_path: Path) -> None:
    repository = repository_with(tmp_path, "slow", "time.sleep(120)")
    with serve(tmp_path, repository) as served:
        served.wait_for("loaded echo")
        prefix = served.prefix
        served.send(signal.SIGINT)
        assert served.wait() == 0
        assert remains(prefix) == []
        assert "Traceback" not in served.err


def test_told_twice(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        served.wait_for(READY)
        prefix = served.prefix
        served.send(signal.SIGINT)
        served.wait_for("stopping Triton")
        served.send(signal.SIGINT)
        assert served.wait() == 0
        assert remains(prefix) == []


def test_killed(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        served.wait_for(READY)
        prefix = served.prefix
        served.send(signal.SIGKILL)
        served.wait()
        wait_until(lambda: not remains(prefix), GONE, f"still there: {remains(prefix)}")


def test_killed_with_its_guard_and_started_again(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        served.wait_for(READY)
        prefix = served.prefix
        guard = next(p for p in processes_of(prefix) if any(a.endswith("guard.py") for a in p.arguments))
        served.send(signal.SIGKILL)
        os.kill(guard.pid, signal.SIGKILL)
        served.wait()
    wait_until(lambda: not Path(f"/proc/{guard.pid}").exists(), GONE, "the guard is still there")
    assert remains(prefix), "nothing was left: this test tests nothing"
    lines: list[str] = []
    with TritonServer([REPOSITORY], served.state_dir, notify=lines.append) as server:
        assert remains(prefix) == []
        assert any(line.startswith("cleared an earlier run") for line in lines)
        assert ask(server.http_url, "hello") == "hello"


def test_model_that_fails_to_load(tmp_path: Path) -> None:
    repository = repository_with(tmp_path, "broken", "raise RuntimeError('no such weights: tulip')")
    with serve(tmp_path, repository) as served:
        assert served.wait(60.0) == 1
        assert "models failed to load" in served.err
        assert "broken: " in served.err and "no such weights: tulip" in served.err
        assert "--- end of " in served.err
        assert 'File "<' not in served.err and "launcher/" not in served.err  # no traceback of ours
        assert not (served.state_dir / "triton.json").exists()


def test_state_folder_in_use(tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    with serve(tmp_path) as served:
        served.wait_for(READY)
        with ServeProcess(second, f"--repository={REPOSITORY}", f"--state-dir={served.state_dir}") as other:
            assert other.wait() == 1
            assert f"process {served.process.pid}" in other.err
            assert "--state-dir" in other.err
        assert len(list(processes_of(served.prefix))) == 3


class EndlessFile(BaseHTTPRequestHandler):
    """A hub that sends a file slowly, and never to its end."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(10**9))
        self.end_headers()
        while not self.server.over.wait(0.05):  # type: ignore[attr-defined]
            try:
                self.wfile.write(b"x" * 4096)
            except OSError:
                return

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        self.server.asked.set()  # type: ignore[attr-defined]


def test_told_to_stop_while_it_downloads(tmp_path: Path) -> None:
    hub = ThreadingHTTPServer(("127.0.0.1", 0), EndlessFile)
    hub.daemon_threads = True
    hub.asked, hub.over = threading.Event(), threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    environment = {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "TRITONGATE_CACHE": str(tmp_path / "cache"),
    }
    try:
        with ServeProcess(tmp_path, environment=environment) as served:
            served.wait_for("preparing ")
            wait_until(hub.asked.is_set, 30.0, f"nothing was asked for\n{served.err}")  # type: ignore[attr-defined]
            served.send(signal.SIGINT)
            assert served.wait(15.0) == 0
            assert "Traceback" not in served.err
    finally:
        hub.over.set()  # type: ignore[attr-defined]
        hub.shutdown()
        hub.server_close()
