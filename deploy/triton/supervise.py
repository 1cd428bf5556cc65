"""Runs Triton, or a launcher that starts it (`mpirun`, `trtllm-llmapi-launch`), as long as it serves all its models.

Usage: python3 supervise.py SECONDS COMMAND...

Three things that none of those commands does:

- A stop (SIGTERM, SIGINT) goes to the Triton that serves and to nothing else: open requests have SECONDS, then its
  launcher ends by itself. `mpirun` would kill all of its processes a second after it got the signal, and
  `trtllm-llmapi-launch` would not pass it on at all.
- When a Python model's process has died, Triton goes on calling that model ready and fails every request to it. Here
  everything ends then, with exit code 1, so that the container is started again.
- It ends likewise when Triton has ended and its launcher goes on, as `trtllm-llmapi-launch` does after an error.

A Triton that answers late, or not at all, as while it loads for half an hour, is never ended for that: only when a
model that it calls ready has fewer processes than it should at two looks in succession.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher.processes import SERVER, Process

INTERVAL = 1.0  # seconds between two looks at the models' processes
FIRST_INTERVAL = 0.1  # until one has been seen, which lives that long: it has to load Python
ANSWER_TIMEOUT = 5.0  # seconds for each of Triton's answers
LAST_WORDS = 5.0  # seconds for the rest to end, after Triton or its open requests
SERVING = "--load-model=*"  # on the command line of the Triton that serves, and of no other rank

# http.client's exceptions (an answer that breaks off, for one) are no OSError.
NO_ANSWER = (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, AttributeError)

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def processes() -> dict[int, tuple[int, Process]]:
    """Every process, by its id: its parent's id, and its command line.

    Raises:
        OSError: the machine is short of something; nobody knows what runs.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # After the name, which may hold anything, in parentheses: state, parent.
            state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            line = (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError, ValueError):
            continue  # it has ended meanwhile, or is none of ours
        if state != "Z" and line:
            arguments = tuple(word.decode(errors="replace") for word in line.rstrip(b"\0").split(b"\0"))
            found[int(folder.name)] = int(parent), Process(int(folder.name), arguments)
    return found


def descendants(root: int) -> Iterator[tuple[int, Process]]:
    """What has been started by `root`, directly or not, and has not lost its parent: parent's id, process."""
    found = processes()
    family = {root}
    while more := {pid for pid, (parent, _) in found.items() if parent in family} - family:
        family |= more
    return iter([found[pid] for pid in family if pid in found])


def serving(root: int) -> Process | None:
    """The Triton that serves; None before it runs."""
    for _, process in descendants(root):
        if os.path.basename(process.arguments[0]) == SERVER and SERVING in process.arguments:
            return process
    return None


def http_url(server: Process) -> str:
    """Where this Triton, and no other one of the machine, answers."""
    given = {"--http-address": "127.0.0.1", "--http-port": "8000"}
    for word, following in zip(server.arguments, (*server.arguments[1:], ""), strict=True):
        option, equals, value = word.partition("=")
        if option in given:
            given[option] = value if equals else following
    address = given["--http-address"]
    if address in ("0.0.0.0", "::"):
        address = "127.0.0.1"
    return f"http://{f'[{address}]' if ':' in address else address}:{given['--http-port']}"


def python_models(url: str) -> tuple[dict[str, int], set[str]]:
    """The models with the Python backend that Triton holds for ready, and how many processes each should have; and the
    names of all models, ready or not.

    Raises:
        NO_ANSWER: none, none in time, half of one, an error, or something that is no Triton's.
    """

    def ask(path: str, method: str) -> Any:
        request = urllib.request.Request(f"{url}/v2/{path}", method=method)
        with _direct.open(request, timeout=ANSWER_TIMEOUT) as answer:
            return json.load(answer)

    found = {}
    index = ask("repository/index", "POST")
    for model in index:
        if model.get("state") == "READY":
            config = ask(f"models/{model['name']}/config", "GET")
            if config.get("backend") == "python":
                found[model["name"]] = sum(group.get("count", 1) for group in config["instance_group"])
    return found, {model["name"] for model in index}


class Watch:
    """Looks at one Triton, and at the Python processes of its models."""

    def __init__(self) -> None:
        self._found_well: dict[int, str] | None = None
        self.knows_processes = False  # whether one of a model has ever been seen: else missing ones mean nothing
        self._suspicion: str | None = None
        self._served = False
        self._gone_since: float | None = None

    def trouble(self, root: int) -> str | None:
        """What has ended without taking everything with it."""
        try:
            return self._look(root)
        except OSError as error:
            print(f"tritongate-triton: cannot look at the processes: {error}", file=sys.stderr)
            return None

    def _look(self, root: int) -> str | None:
        server = serving(root)
        if server is None:
            self._gone_since = self._gone_since or time.monotonic()
            gone = self._served and time.monotonic() - self._gone_since > LAST_WORDS
            return "Triton has ended" if gone else None
        self._served, self._gone_since = True, None
        before, self._suspicion = self._suspicion, self._lost(root, server)
        # Once may be chance: a model is unloaded, or Triton stopped, between its answer and the look at the processes.
        return self._suspicion if self._suspicion == before else None

    def _lost(self, root: int, server: Process) -> str | None:
        """What a model has lost, as it seems at this moment."""
        running = stubs(root, server)
        self.knows_processes = self.knows_processes or bool(running)
        if running == self._found_well:
            return None
        try:
            wanted, names = python_models(http_url(server))
        except NO_ANSWER:
            return None  # it loads, is busy, or ends: asked again at the next look
        # Looked at after Triton has said what is ready: a model may be loaded anew on purpose at this moment.
        there = list(stubs(root, server).values())
        # The name is that of a folder. Triton may have copied a model to another one (from cloud storage, or with files
        # given when it was loaded): such a process may be of any model.
        strangers = sum(name not in names for name in there)
        for name, processes in wanted.items():
            if self.knows_processes and there.count(name) + strangers < processes:
                return f"a process of model {name} has ended"
        self._found_well = running
        return None


def stubs(root: int, server: Process) -> dict[int, str]:
    """The Python processes of a Triton's models: process id, name of the model."""
    return {
        process.pid: process.model or ""
        for parent, process in descendants(root)
        if parent == server.pid and process.is_stub
    }


def end(child: subprocess.Popen[bytes], patience: float) -> None:
    """Stops the Triton that serves, and what has started it; kills what is left after `patience` seconds."""
    server = serving(child.pid)
    try:
        if server is None:
            child.terminate()
        else:
            os.kill(server.pid, signal.SIGTERM)
        child.wait(patience)
    except ProcessLookupError:
        pass
    except subprocess.TimeoutExpired:
        print(f"tritongate-triton: still running after {patience:.0f} s", file=sys.stderr)
    for _, process in descendants(child.pid):
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    child.wait()


def main() -> int:
    """Until the command ends, or is ended; returns the exit code."""
    patience = float(sys.argv[1]) + LAST_WORDS
    stops: list[int] = []
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stops.append(number))
    child = subprocess.Popen(sys.argv[2:])
    watch = Watch()
    while not stops:
        if select.select([heard], [], [], INTERVAL if watch.knows_processes else FIRST_INTERVAL)[0]:
            os.read(heard, 4096)
        if (code := child.poll()) is not None:
            return code if code >= 0 else 128 - code
        if not stops and (trouble := watch.trouble(child.pid)):
            print(f"tritongate-triton: {trouble}: this is the end", file=sys.stderr)
            end(child, LAST_WORDS)
            return 1
    end(child, patience)
    return 0


if __name__ == "__main__":
    sys.exit(main())
