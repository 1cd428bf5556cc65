"""Each check of `tritongate doctor`, on a machine where everything is there and where its thing is missing."""

from __future__ import annotations

import importlib.metadata
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from build.catalog import ModelEntry, load_catalog
from launcher import checks, libpython, triton_binaries
from launcher.checks import Finding, Verdict
from tests.support.impostor import impostor

DEFAULTS = load_catalog().defaults()
SIZE = sum(file.size for entry in DEFAULTS for file in entry.files)


def failed(finding: Finding, *words: str) -> None:
    assert finding.verdict is Verdict.FAILED, finding
    assert finding.mend
    for word in words:
        assert word in f"{finding.detail} {finding.mend}", finding


def test_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.python().verdict is Verdict.OK
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    failed(checks.python(), "3.9.1", "3.10, 3.11 or 3.12")


def test_python_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libpython, "find_libpython", lambda: None)
    failed(checks.python(), libpython.library_name(), "apt-get install libpython3")


def test_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.platform().verdict is Verdict.OK
    monkeypatch.setattr(sys, "platform", "darwin")
    failed(checks.platform(), "darwin", "tritongate serve --triton grpc://HOST:8001")
    assert checks.local_checks(DEFAULTS, Path("/nowhere")) == [checks.platform]


def test_stub_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert checks.stub_python().verdict is Verdict.OK
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    failed(checks.stub_python(), "does not run", "make setup")
    (tmp_path / "python3").write_text("#!/bin/sh\necho /usr 3 9\n")
    (tmp_path / "python3").chmod(0o755)
    failed(checks.stub_python(), "another environment (/usr 3 9)")


def test_triton() -> None:
    finding = checks.triton()
    assert finding.verdict is Verdict.OK and "nvidia-pytriton" in finding.detail


def test_triton_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_binaries.importlib.util, "find_spec", lambda name: None)
    failed(checks.triton(), "nvidia-pytriton is not installed", "make setup")


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the wheel's folder, to be damaged."""
    source = triton_binaries.wheel_folder()
    copy = tmp_path / "site-packages" / "pytriton"
    shutil.copytree(source, copy, copy_function=os.symlink)
    (copy.parent / "nvidia_pytriton.libs").symlink_to(source.parent / "nvidia_pytriton.libs")
    monkeypatch.setattr(triton_binaries, "wheel_folder", lambda: copy)
    return copy


def test_triton_without_a_stub_for_this_python(wheel: Path) -> None:
    short = f"{sys.version_info[0]}.{sys.version_info[1]}"
    shutil.rmtree(wheel / "tritonserver" / "python_backend_stubs" / short)
    failed(checks.triton(), f"no stub for Python {short}")


def test_triton_without_its_libraries(wheel: Path) -> None:
    server = wheel / "tritonserver" / "bin" / "tritonserver"
    original = server.resolve()
    server.unlink()
    shutil.copy2(original, server)  # a link would still find the libraries beside the original
    (wheel.parent / "nvidia_pytriton.libs").unlink()
    failed(checks.triton(), "does not start", ".so")


def test_triton_whose_executable_bits_are_gone_still_starts(wheel: Path) -> None:
    """Some installers drop them; the layout then holds executable copies."""
    server = wheel / "tritonserver" / "bin" / "tritonserver"
    original = server.resolve()
    server.unlink()
    shutil.copyfile(original, server)
    assert not os.access(server, os.X_OK)
    assert checks.triton().verdict is Verdict.OK


@pytest.mark.parametrize("version", ["2.0.0", "2.3.1", "10.1"])
def test_numpy(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    assert checks.numpy().verdict is Verdict.OK
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    failed(checks.numpy(), version, "empty tensors", "'numpy>=1.26.4,<2'")


def test_numpy_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    failed(checks.numpy(), "not installed")


@pytest.mark.parametrize("module", ["xllamacpp", "onnxruntime"])
def test_engine_packages(module: str) -> None:
    assert checks.importable(module, "models").verdict is Verdict.OK


def test_engine_package_that_is_missing_or_crashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failed(checks.importable("no_such_engine", "chat models"), "No module named 'no_such_engine'", "make setup")
    (tmp_path / "crashing_engine.py").write_text("import os\nos.kill(os.getpid(), 4)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    failed(checks.importable("crashing_engine", "chat models"), "ended by signal 4")


def test_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert checks.shared_memory().verdict is Verdict.OK
    failed(checks.shared_memory(tmp_path / "missing"), "not usable")
    small = types.SimpleNamespace(total=1 << 20, used=0, free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: small)
    failed(checks.shared_memory(tmp_path), "1 MB free", "--shm-size")


def test_shared_memory_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    failed(checks.shared_memory(tmp_path), "not writable")


def test_stale_segments(tmp_path: Path) -> None:
    assert checks.stale_segments(tmp_path).verdict is Verdict.OK
    stale, running = (f"tritongate-{os.getuid()}-{secrets.token_hex(6)}" for _ in range(2))
    for name in (f"{stale}a", f"{stale}b", f"{running}a", "somebody-elses"):
        (tmp_path / name).write_bytes(b"x")
    with impostor("tritonserver", running):
        finding = checks.stale_segments(tmp_path)
    assert finding.verdict is Verdict.WARNING
    assert "2 segments of 1 Tritons" in finding.detail
    subprocess.run(["sh", "-c", finding.mend], check=True)
    assert sorted(os.listdir(tmp_path)) == sorted([f"{running}a", "somebody-elses"])


def test_weights(tmp_path: Path) -> None:
    finding = checks.weights(DEFAULTS, tmp_path)
    assert finding.verdict is Verdict.WARNING
    assert f"{SIZE / 1e6:,.0f} MB are not downloaded" in finding.detail
    assert all(entry.id in finding.detail for entry in DEFAULTS)
    for entry in DEFAULTS:
        place(entry, tmp_path)
    assert checks.weights(DEFAULTS, tmp_path).verdict is Verdict.OK


def place(entry: ModelEntry, cache: Path) -> None:
    """Files of the right sizes, that take no room."""
    for file in entry.files:
        path = cache / "files" / file.sha256 / file.name
        path.parent.mkdir(parents=True)
        path.touch()
        os.truncate(path, file.size)


def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = tmp_path / "not" / "yet" / "there"
    assert checks.disk(DEFAULTS, cache).verdict is Verdict.OK
    full = types.SimpleNamespace(total=10**12, used=0, free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    failed(checks.disk(DEFAULTS, cache), "1.0 GB free", "TRITONGATE_CACHE")
    for entry in DEFAULTS:
        place(entry, cache)
    assert checks.disk(DEFAULTS, cache).verdict is Verdict.OK


def test_memory(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  99999999 kB\nMemAvailable:    8000000 kB\n")
    assert checks.memory(DEFAULTS, meminfo).verdict is Verdict.OK
    meminfo.write_text("MemTotal:  99999999 kB\nMemAvailable:     900000 kB\n")
    finding = checks.memory(DEFAULTS, meminfo)
    assert finding.verdict is Verdict.WARNING and "--model" in finding.mend
    assert checks.memory(DEFAULTS, tmp_path / "none").verdict is Verdict.WARNING


def test_address() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        failed(checks.address("127.0.0.1", port), "already in use", "--port", str(port))
    assert checks.address("127.0.0.1", port).verdict is Verdict.OK


@pytest.mark.parametrize(("header", "verdict"), [("x-request-id", Verdict.OK), ("x-other", Verdict.FAILED)])
def test_address_that_our_own_server_holds(header: str, verdict: Verdict) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health/live" else 404)
            self.send_header(header, "1")
            self.end_headers()
            self.wfile.write(b'{"status": "live"}')

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert checks.address("127.0.0.1", server.server_port).verdict is verdict
    finally:
        server.shutdown()
        server.server_close()
