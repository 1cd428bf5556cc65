"""Finds the shared library of a running Python (`libpython3.X.so`), which Triton's Python backend loads.

Standard library only: `requirements/find_python.sh` runs this file with every candidate interpreter, before
there is an environment. As a script it prints the interpreter's path and exits 0 if Tritongate can be set up
with it, otherwise it prints to stderr what is missing and exits 1.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

MINIMUM = (3, 10)
BELOW = (3, 13)


def library_name() -> str:
    """The file name that the stub asks the dynamic linker for, such as `libpython3.11.so.1.0`."""
    return f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"


def find_libpython() -> Path | None:
    """The path of this interpreter's shared library, or None if it has none.

    Looks where the interpreter says it was installed, beside its own prefix (relocated builds), then in the
    dynamic linker's cache.
    """
    name = library_name()
    prefix = Path(sys.base_prefix)
    libdir = Path(str(sysconfig.get_config_var("LIBDIR") or prefix / "lib"))
    folders = [libdir, prefix / "lib", prefix / "lib64"]
    multiarch = sysconfig.get_config_var("MULTIARCH")
    if multiarch:
        folders += [Path("/usr/lib") / multiarch, Path("/lib") / multiarch]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    return _from_linker_cache(name)


def _from_linker_cache(name: str) -> Path | None:
    for ldconfig in ("ldconfig", "/sbin/ldconfig"):
        try:
            listing = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, timeout=10, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        for line in listing.splitlines():
            found, _, path = line.strip().partition(" => ")
            if found.split(" ", 1)[0] == name and os.path.isfile(path):
                return Path(path)
    return None


def shortcomings() -> list[str]:
    """What keeps this interpreter from running Tritongate, a line each; empty if it fits."""
    version = ".".join(map(str, sys.version_info[:3]))
    if not MINIMUM <= sys.version_info[:2] < BELOW:
        return [f"Python {version}: 3.10, 3.11 or 3.12 is needed"]
    short = f"{sys.version_info[0]}.{sys.version_info[1]}"
    missing = []
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        missing.append(f"Python {version} lacks venv: sudo apt-get install python{short}-venv")
    # Elsewhere there is no Triton wheel either, and Triton runs on another machine.
    if sys.platform == "linux" and find_libpython() is None:
        missing.append(f"Python {version} lacks {library_name()}: sudo apt-get install libpython{short}")
    return missing


if __name__ == "__main__":
    problems = shortcomings()
    for problem in problems:
        print(f"  {sys.executable}: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    print(sys.executable)
