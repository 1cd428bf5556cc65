from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.triton_binaries import lay_out


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_layout_is_what_triton_expects_and_is_made_once(tmp_path: Path) -> None:
    binaries = lay_out(tmp_path)
    backend = binaries.backends / "python"
    assert os.access(binaries.executable, os.X_OK)
    assert os.access(backend / "triton_python_backend_stub", os.X_OK)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py", "tokentext/__init__.py"):
        assert (backend / name).is_file()
    before = snapshot(tmp_path)
    assert lay_out(tmp_path) == binaries
    assert snapshot(tmp_path) == before


def test_layout_that_was_damaged_is_mended(tmp_path: Path) -> None:
    binaries = lay_out(tmp_path)
    stub = binaries.backends / "python" / "triton_python_backend_stub"
    stub.unlink()
    stub.symlink_to("/no/such/place")
    binaries.executable.unlink()
    assert lay_out(tmp_path) == binaries
    assert stub.is_file() and binaries.executable.is_file()


def test_models_run_in_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    environment = lay_out(tmp_path).environment()
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert "PYTHONPATH" not in environment and "PYTHONHOME" not in environment
    assert environment["LD_LIBRARY_PATH"].endswith(":/opt/lib")
    answer = subprocess.run(
        ["python3", "-c", "import sys; print(sys.prefix)"], env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == sys.prefix
