"""deploy/triton/start.sh over a real Triton, as a container runs it: how it stops, and when it ends by itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from launcher.guard import SHM
from launcher.ports import LOOPBACK, free_ports
from launcher.triton_binaries import lay_out
from launcher.triton_health import HealthClient
from tests.support.echo import REPOSITORY, ask, repository_with
from tests.support.serve_process import wait_until

START = Path(__file__).parents[2] / "deploy" / "triton" / "start.sh"
LOADING = 60.0  # seconds
# As Open MPI's: a signal is the ranks' end. (Open MPI 4.1 gives them one second.)
MPIRUN = """#!/bin/bash
while [[ $1 != -n ]]; do shift; done
"${@:3}" &
trap "kill -KILL $!; exit 1" TERM
wait $!
"""
# As TensorRT-LLM's, which awaits a word that an ended Triton does not say.
LAUNCHER = """#!/bin/bash
"$@" &
sleep 600
"""


def repository(folder: Path) -> Path:
    """`echo`, which takes three seconds over `slow`."""
    copy = shutil.copytree(REPOSITORY, folder / "models", ignore=shutil.ignore_patterns("__pycache__"))
    model = copy / "echo" / "1" / "model.py"
    wait = 'if text[0] == b"slow":\n                __import__("time").sleep(3)\n            '
    model.write_text(model.read_text().replace('if text[0] == b"die"', wait + 'if text[0] == b"die"'))
    return copy


class Container:
    """What start.sh has started. `url` is Triton's."""

    def __init__(self, folder: Path, **variables: str) -> None:
        triton = lay_out(folder / "triton")
        programs = folder / "bin"
        programs.mkdir()
        server = f'#!/bin/sh\nexec {triton.executable} "$@"\n'
        for name, text in (("tritonserver", server), ("mpirun", MPIRUN), ("trtllm-llmapi-launch", LAUNCHER)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        http, grpc, metrics = free_ports(3)
        self.url = f"http://{LOOPBACK}:{http}"
        arguments = [f"--backend-directory={triton.backends}"]
        arguments += [f"--{kind}-address={LOOPBACK}" for kind in ("http", "grpc", "metrics")]
        arguments += [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
        environment = triton.environment()
        environment |= {
            "PATH": f"{programs}:{Path(sys.executable).parent}:{environment['PATH']}",
            "MODEL_REPOSITORY": str(repository(folder)),
            "EXIT_TIMEOUT": "20",
            **variables,
        }
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [START, *arguments], env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def await_ready(self) -> None:
        health = HealthClient(self.url)
        try:
            wait_until(lambda: self.process.poll() is not None or health.ready(), LOADING, "Triton does not get ready")
        finally:
            health.close()
        assert self.process.poll() is None, self.log.read_text()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Container]]:
    started: list[Container] = []
    before = set(os.listdir(SHM))

    def one(ready: bool = True, **variables: str) -> Container:
        started.append(Container(tmp_path, **variables))
        if ready:
            started[-1].await_ready()
        return started[-1]

    yield one
    for container in started:
        with suppress(ProcessLookupError):
            os.killpg(container.process.pid, signal.SIGKILL)
        container.process.wait()
    for name in set(os.listdir(SHM)) - before:
        if name.startswith(("tritongate_", "tritongate0_")):
            (Path(SHM) / name).unlink(missing_ok=True)


@pytest.mark.parametrize("launch", ["plain", "mpi"])
def test_a_stop_leaves_open_requests_their_time(launch: str, start: Callable[..., Container]) -> None:
    container = start(LAUNCH=launch, ENGINE_MODELS="echo")
    answers: list[str | Exception] = []

    def open_request() -> None:
        try:
            answers.append(ask(container.url, "slow"))
        except httpx.HTTPError as error:
            answers.append(error)

    asking = threading.Thread(target=open_request)
    asking.start()
    time.sleep(1)  # of the three that it takes
    container.process.send_signal(signal.SIGTERM)
    asking.join()
    assert answers == ["slow"]
    assert container.process.wait(20) == 0, container.log.read_text()


def test_a_dead_model_is_the_end_so_that_the_container_starts_anew(start: Callable[..., Container]) -> None:
    container = start()
    with pytest.raises(httpx.HTTPError):
        ask(container.url, "die")
    assert container.process.wait(30) == 1, container.log.read_text()
    assert "a process of model echo has ended" in container.log.read_text()


def test_a_triton_that_does_not_load_its_models_is_the_end_under_any_launcher(
    start: Callable[..., Container], tmp_path: Path
) -> None:
    broken = repository_with(tmp_path, "broken", "raise ValueError('no weights')")
    container = start(ready=False, LAUNCH="llmapi", EXIT_ON_ERROR="true", MODEL_REPOSITORY=str(broken))
    assert container.process.wait(60) == 1, container.log.read_text()
    assert "no weights" in container.log.read_text()


def test_a_model_unloaded_on_purpose_is_not(start: Callable[..., Container]) -> None:
    container = start()
    httpx.post(f"{container.url}/v2/repository/models/echo/unload").raise_for_status()
    with pytest.raises(subprocess.TimeoutExpired):
        container.process.wait(4)
    httpx.post(f"{container.url}/v2/repository/models/echo/load", timeout=30).raise_for_status()
    assert ask(container.url, "again") == "again"
