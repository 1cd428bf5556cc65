"""Choosing an interpreter before there is an environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.libpython import find_libpython, library_name, shortcomings

SCRIPT = Path(__file__).parents[3] / "requirements" / "find_python.sh"


def find_python(path: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", SCRIPT], capture_output=True, text=True, timeout=60, env={"PATH": path, "HOME": "/tmp", **environment}
    )


def fake(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_this_python_fits() -> None:
    assert shortcomings() == []
    library = find_libpython()
    assert library is not None and library.name == library_name()


def test_chosen_interpreter_is_taken() -> None:
    answer = find_python("/usr/bin:/bin", PYTHON=sys.executable)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == sys.executable


def test_unsuitable_ones_are_passed_over(tmp_path: Path) -> None:
    # A version manager's shim whose version is not selected, then one that fits.
    fake(tmp_path, "python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    fake(tmp_path, "python3.11", f'exec {sys.executable} "$@"')
    answer = find_python(f"{tmp_path}:/usr/bin:/bin")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == sys.executable


def test_no_suitable_python_is_explained(tmp_path: Path) -> None:
    for tool in ("sh", "dirname", "grep"):
        (tmp_path / tool).symlink_to(f"/bin/{tool}" if os.path.exists(f"/bin/{tool}") else f"/usr/bin/{tool}")
    fake(tmp_path, "python3.12", "echo '  /x/python3.12: Python 3.12.0 lacks libpython3.12.so.1.0: mend' >&2; exit 1")
    fake(tmp_path, "python3", "exit 139")
    answer = find_python(str(tmp_path))
    assert answer.returncode == 1 and answer.stdout == ""
    assert "3.10, 3.11 or 3.12" in answer.stderr
    assert "lacks libpython3.12.so.1.0" in answer.stderr
    assert "python3: does not start" in answer.stderr
    assert "make setup PYTHON=" in answer.stderr


@pytest.mark.parametrize("version", [(3, 9, 20), (3, 13, 0)])
def test_version_out_of_range(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int]) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    assert shortcomings() == [f"Python {'.'.join(map(str, version))}: 3.10, 3.11 or 3.12 is needed"]
