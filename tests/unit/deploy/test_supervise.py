"""deploy/triton/supervise.py: it ends what has died, and never what loads for long or is busy."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from launcher.ports import LOOPBACK, free_ports
from launcher.processes import Process
from tests.support.serve_process import wait_until

from .repository_files import DEPLOY

SUPERVISE = DEPLOY / "triton" / "supervise.py"
# Triton and its model `echo` with two processes; `conduct` is a file that says how it answers.
SERVER = """
import http.server, json, pathlib, subprocess, sys, time
folder, port, python = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
stub = [str(folder / "echo" / "1" / "model.py")]
stubs = [subprocess.Popen(["triton_python_backend_stub", *stub], executable=python) for _ in range(2)]
conduct = lambda: (folder / "conduct").read_text()
while conduct() == "loads":
    time.sleep(0.01)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        now = conduct()
        time.sleep(60 if now == "hangs" else 0)
        if now == "overloaded":
            return self.send_error(503)
        if now == "strange":
            return self.wfile.write(b"SSH-2.0-server\\r\\n\\r\\n")
        groups = [{"name": "echo_0", "count": 2}]
        config = {"backend": "python", "instance_group": groups}
        body = json.dumps(config if "config" in self.path else [{"name": "echo", "state": "READY"}]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:9] if now == "half" else body)
    do_POST = do_GET
    log_message = lambda *_: None
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def supervise(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("supervise", SUPERVISE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ANSWER_TIMEOUT", 0.3)
    monkeypatch.setattr(module, "LAST_WORDS", 0.3)
    return module


class Server:
    def __init__(self, folder: Path) -> None:
        (folder / "echo" / "1").mkdir(parents=True)
        (folder / "echo" / "1" / "model.py").write_text("import time; time.sleep(120)")
        (folder / "server.py").write_text(SERVER)
        self._conduct = folder / "conduct"
        self.behave("loads")
        self.port = str(free_ports(1)[0])
        command = ["tritonserver", str(folder / "server.py"), str(folder), self.port, sys.executable]
        options = ["--load-model=*", "--http-port", self.port]
        self.process = subprocess.Popen([*command, *options], executable=sys.executable, start_new_session=True)

    def behave(self, conduct: str) -> None:
        temporary = self._conduct.with_suffix(".new")
        temporary.write_text(conduct)
        temporary.rename(self._conduct)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    os.killpg(made.process.pid, signal.SIGKILL)
    made.process.wait()


def found(supervise: ModuleType, server: Server) -> list[int]:
    process = supervise.serving(server.process.pid)
    return [] if process is None else list(supervise.stubs(server.process.pid, process))


def answers(supervise: ModuleType, server: Server) -> bool:
    try:
        return supervise.python_models(f"http://{LOOPBACK}:{server.port}") == ({"echo": 2}, {"echo"})
    except supervise.NO_ANSWER:
        return False


def test_what_loads_or_is_busy_is_never_ended_and_a_dead_model_is(supervise: ModuleType, server: Server) -> None:
    watch = supervise.Watch()
    wait_until(lambda: len(found(supervise, server)) == 2, 20, "the models' processes do not start")
    looks: dict[str, list[str | None]] = {}

    def look(conduct: str) -> None:
        server.behave(conduct)
        looks[conduct] = [watch.trouble(server.process.pid) for _ in range(3)]

    look("loads")
    server.behave("ready")
    wait_until(lambda: answers(supervise, server), 20, "it does not answer")
    os.kill(found(supervise, server)[0], signal.SIGKILL)  # from now on there is something to be looked into
    wait_until(lambda: len(found(supervise, server)) == 1, 20, "the process does not end")
    for conduct in ("hangs", "overloaded", "strange", "half"):
        look(conduct)
    assert looks == {conduct: [None] * 3 for conduct in looks}
    look("ready")
    assert looks["ready"] == [None, *["a process of model echo has ended"] * 2]


def test_a_model_that_is_ready_with_all_its_processes_is_well(supervise: ModuleType, server: Server) -> None:
    watch = supervise.Watch()
    server.behave("ready")
    wait_until(lambda: answers(supervise, server), 20, "it does not answer")
    assert [watch.trouble(server.process.pid) for _ in range(3)] == [None] * 3


def well(supervise: ModuleType, monkeypatch: pytest.MonkeyPatch, *looks: dict[int, str]) -> list[str | None]:
    """What is said of a ready model `echo` that should have one process."""
    monkeypatch.setattr(supervise, "serving", lambda root: Process(1, ("tritonserver",)))
    monkeypatch.setattr(supervise, "python_models", lambda url: ({"echo": 1}, {"echo", "large"}))
    watch = supervise.Watch()
    said = []
    for stubs in looks:
        monkeypatch.setattr(supervise, "stubs", lambda root, server, stubs=stubs: stubs)
        said.append(watch.trouble(1))
    return said


def test_processes_that_cannot_be_told_apart_are_no_reason(
    supervise: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of a cloud repository runs from a folder with another name; a future Triton may start processes anew."""
    assert well(supervise, monkeypatch, *[{7: "folder1A2b3C"}] * 3) == [None] * 3
    assert well(supervise, monkeypatch, *[{}] * 3) == [None] * 3
    assert well(supervise, monkeypatch, {7: "echo"}, *[{8: "folder1A2b3C"}] * 3) == [None] * 4
    assert well(supervise, monkeypatch, {7: "echo"}, {}, {8: "echo"}, {8: "echo"}) == [None] * 4


def test_a_model_that_loads_meanwhile_hides_nothing(supervise: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = "a process of model echo has ended"
    assert well(supervise, monkeypatch, {7: "echo"}, {9: "large"}, {9: "large"}) == [None, None, ended]


def test_a_machine_that_is_short_of_something(
    supervise: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Path, *_: object, **__: object) -> str:
        raise OSError(23, "Too many open files in system")

    watch = supervise.Watch()
    watch._served = True
    monkeypatch.setattr(supervise.Path, "read_text", fail)
    for _ in range(2):
        assert watch.trouble(1) is None
        time.sleep(0.4)
    assert "Too many open files" in capfd.readouterr().err


def test_a_triton_that_is_not_seen_has_its_time(supervise: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it runs for ever, and afterwards from the moment on when it was first missed."""
    assert well(supervise, monkeypatch) == []
    watch = supervise.Watch()
    monkeypatch.setattr(supervise, "serving", lambda root: None)
    assert watch.trouble(1) is None
    time.sleep(0.4)
    assert watch.trouble(1) is None
    monkeypatch.setattr(supervise, "serving", lambda root: Process(1, ("tritonserver",)))
    monkeypatch.setattr(supervise, "stubs", lambda root, server: {})
    assert watch.trouble(1) is None
    time.sleep(0.4)  # a look that took so long
    monkeypatch.setattr(supervise, "serving", lambda root: None)
    assert watch.trouble(1) is None
    time.sleep(0.4)
    assert watch.trouble(1) == "Triton has ended"


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ([], "http://127.0.0.1:8000"),
        (["--http-port=1", "--http-port=2"], "http://127.0.0.1:2"),
        (["--http-port", "9000", "--http-address", "::1"], "http://[::1]:9000"),
        (["--http-address=0.0.0.0"], "http://127.0.0.1:8000"),
        (["--http-address=10.0.0.7"], "http://10.0.0.7:8000"),
    ],
)
def test_the_triton_that_is_asked(supervise: ModuleType, options: list[str], url: str) -> None:
    assert supervise.http_url(Process(1, ("tritonserver", *options))) == url


@pytest.mark.parametrize(("command", "code"), [("exit 7", 7), ("exit 0", 0), ("kill -KILL $$", 137)])
def test_the_exit_code_is_that_of_the_command(command: str, code: int) -> None:
    done = subprocess.run([sys.executable, SUPERVISE, "1", "sh", "-c", command], timeout=30, check=False)
    assert done.returncode == code


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started = []

    def one(script: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, SUPERVISE, "1", "sh", "-c", script],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield one
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_second_stop_breaks_nothing_off(run: Callable[[str], subprocess.Popen[str]]) -> None:
    """What is passed through, log and all, ends in its own time."""
    process = run("trap 'sleep 1; echo done; exit 3' TERM; echo runs; while :; do sleep 0.1; done")
    assert process.stdout is not None and process.stdout.readline() == "runs\n"
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == "done\n"
    assert process.wait(10) == 0


def test_what_does_not_heed_a_stop_is_killed(run: Callable[[str], subprocess.Popen[str]]) -> None:
    process = run("trap '' TERM; echo runs; while :; do sleep 0.1; done")
    assert process.stdout is not None and process.stdout.readline() == "runs\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert "still running after 6 s" in process.stdout.read()
