"""Runs Triton, or a launcher that starts it (`mpirun`, `trtllm-llmapi-launch`), as long as it serves all its models.

Usage: python3 supervise.py SECONDS COMMAND...

Three things that none of those commands does:

- A stop (SIGTERM, SIGINT) goes to the Triton that serves and to nothing else: open requests have SECONDS, then its
  launcher ends by itself. `mpirun` would kill all of its processes a second after it got the signal, and
  `trtllm-llmapi-launch` would not pass it on at all.
- When a Python model's process has died, Triton goes on calling that model ready and fails every request to it. Here
  everything ends then, with exit code 1, so that the container is started again.
- It ends likewise when Triton has ended and its launcher goes on, as `trtllm-llmapi-launch` does after an error.
"""

from __future__ import annotations

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
LAST_WORDS = 5.0  # seconds for the rest to end, after Triton or its open requests
SERVING = "--load-model=*"  # on the command line of the Triton that serves, and of no other rank

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def processes() -> dict[int, tuple[int, Process]]:
    """Every process, by its id: its parent's id, and its command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # After the name, which may hold anything, in parentheses: state, parent.
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            line = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue  # it has ended meanwhile
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
    ports = [word.partition("=")[2] for word in server.arguments if word.startswith("--http-port=")]
    return f"http://127.0.0.1:{ports[-1] if ports else 8000}"


def python_models(url: str) -> dict[str, int]:
    """The models with the Python backend that Triton holds for ready, and how many processes each should have.

    Raises:
        OSError: no answer, or an error. ValueError, LookupError: it is no Triton's.
    """

    def ask(path: str, method: str) -> Any:
        request = urllib.request.Request(f"{url}/v2/{path}", method=method)
        with _direct.open(request, timeout=5) as answer:
            return json.load(answer)

    found = {}
    for model in ask("repository/index", "POST"):
        if model.get("state") == "READY":
            config = ask(f"models/{model['name']}/config", "GET")
            if config["backend"] == "python":
                found[model["name"]] = sum(group.get("count", 1) for group in config["instance_group"])
    return found


class Watch:
    """Looks at one Triton, and at the Python processes of its models."""

    def __init__(self) -> None:
        self._found_well: dict[int, str] | None = None
        self._last_seen: float | None = None

    def trouble(self, root: int) -> str | None:
        """What has ended without taking everything with it."""
        now = time.monotonic()
        server = serving(root)
        if server is None:
            gone = self._last_seen is not None and now - self._last_seen > LAST_WORDS
            return "Triton has ended" if gone else None
        self._last_seen = now
        running = stubs(root, server)
        if running == self._found_well:
            return None
        try:
            wanted = python_models(http_url(server))
        except (OSError, ValueError, LookupError):
            return None  # it loads, or ends: asked again at the next look
        # Looked at after Triton has said what is ready: a model may be loaded anew on purpose at this moment.
        there = list(stubs(root, server).values())
        for name, processes in wanted.items():
            if there.count(name) < processes:
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
        if select.select([heard], [], [], INTERVAL)[0]:
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
