"""Runs a tool of a build: its output goes to a log, its end is ours, and its last words are shown when it fails.

A tool that outlives the script would write into a folder that the next run has taken over. So the kernel ends the tool
when the script dies, however it dies, and a container has a name by which the next run removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from build.transfer import Notify

TAIL = 20  # lines of a failed tool that are shown
LONGEST_LINE = 2000  # characters of a line that are kept for showing
LINE_EVERY = 30.0  # seconds between two lines that say a tool is still at work
STOP_SECONDS = 10.0  # that a tool has to end by itself
PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Of the environment, what tools in a container may need. Values never appear in a command line.
PASSED = ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "CUDA_VISIBLE_DEVICES")


class ToolError(Exception):
    """A tool is missing or failed; the message holds its last lines and where the whole log is."""


@dataclass(frozen=True)
class ToolRunner:
    """Runs commands here, or in a container of TensorRT-LLM.

    Args:
        container: image for `docker run`; empty: the tools are on PATH.
        name: of the container, one per build.
        folders: that the container sees, under the same paths, and under their real ones.
        image_id: of `container`, once it is known.
    """

    container: str = ""
    name: str = ""
    folders: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    image_id: str = ""

    def line(self, command: Sequence[str]) -> list[str]:
        """The command as it is started."""
        if not self.container:
            return list(command)
        line = ["docker", "run", "--rm", "--init", "--gpus", "all", "--ipc", "host", "--name", self.name]
        line += ["--ulimit", "memlock=-1", "--ulimit", "stack=67108864", "--user", f"{os.getuid()}:{os.getgid()}"]
        # Links in them say where the files really are.
        for place in dict.fromkeys(path for folder in self.folders for path in (folder, folder.resolve())):
            line += ["--volume", f"{place}:{place}"]
        for variable in (*PASSED, *self.environment):
            if variable in os.environ or variable in self.environment:
                line += ["--env", variable]
        return [*line, "--env", "HOME=/tmp", self.container, *command]

    def clear(self) -> None:
        """Removes a container that an earlier run left behind."""
        if self.container and shutil.which("docker"):
            subprocess.run(["docker", "rm", "--force", self.name], capture_output=True, timeout=60, check=False)

    def run(self, command: Sequence[str], folder: Path, log: Path, notify: Notify) -> None:
        """Runs it to its end in `folder`, its output appended to `log`.

        Raises:
            ToolError: not found, or its exit code is not 0.
        """
        line = self.line(command)
        if shutil.which(line[0]) is None:
            raise ToolError(f"{line[0]} is not on PATH: {_where(line[0])}")
        last: deque[str] = deque(maxlen=TAIL)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {shlex.join(line)}\n")
            file.flush()
            process = subprocess.Popen(
                line,
                cwd=folder,
                env={**os.environ, **self.environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
                preexec_fn=_ends_with(os.getpid()),
            )
            try:
                _follow(process, Path(line[0]).name, last, file.write, notify)
                code = process.wait()
            except BaseException:
                _stop(process)
                raise
        if code:
            ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            said = "\n".join(f"  | {text}" for text in last) or "  (it said nothing)"
            free = shutil.disk_usage(folder).free
            raise ToolError(
                f"{shlex.join(command)}\n  failed with {ended}; its last lines:\n{said}\n"
                f"  the whole log: {log}; {free / 1e9:,.1f} GB are free in {folder}"
            )


def _follow(
    process: subprocess.Popen[str], name: str, last: deque[str], write: Callable[[str], object], notify: Notify
) -> None:
    assert process.stdout is not None
    said = time.monotonic()
    for text in process.stdout:
        write(text)
        if line := text.rstrip()[:LONGEST_LINE]:
            last.append(line)
        if line and time.monotonic() - said >= LINE_EVERY:
            said = time.monotonic()
            notify(f"  {name}: {line}")


def _stop(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return


def _ends_with(parent: int) -> Callable[[], None] | None:
    """For the child before it becomes the tool: the kernel is to end it with its parent."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)

    return ask


def _where(tool: str) -> str:
    if tool == "docker":
        return "install Docker and NVIDIA's container toolkit, or run inside the container, without --container"
    return "run inside the TensorRT-LLM container, or give its image with --container"
