"""The command line, without a Triton: what it refuses, and how."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapter.security.keys import KeyRing
from build.catalog import load_catalog
from launcher.commands.models import catalog_table
from tests.support.serve_process import TRITONGATE


def run(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("TRITONGATE_")}
    answer = subprocess.run(
        [TRITONGATE, *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        cwd=folder,
        env=own | {"TRITONGATE_CACHE": str(folder / "cache")} | environment,
    )
    assert "Traceback" not in answer.stderr
    return answer


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("command", [[], ["serve"], ["models"], ["doctor"], ["keys"], ["keys", "new"]])
def test_help(tmp_path: Path, command: list[str]) -> None:
    answer = run(*command, "--help", folder=tmp_path)
    assert answer.returncode == 0
    assert "Usage: tritongate" in answer.stdout
    # A summary that is cut off helps nobody.
    assert "..." not in answer.stdout.partition("Commands:")[2]


def refused(answer: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert answer.returncode == code, answer.stderr
    for word in words:
        assert word in answer.stderr, answer.stderr
    assert answer.stdout == ""


def test_serve_tells_a_taken_port_before_anything_is_made(tmp_path: Path, taken_port: int) -> None:
    answer = run("serve", "--port", str(taken_port), folder=tmp_path)
    refused(answer, 1, f"cannot listen on 127.0.0.1:{taken_port}: Address already in use", "--port")
    assert os.listdir(tmp_path) == []


def test_serve_refuses_to_be_open_to_anybody(tmp_path: Path) -> None:
    answer = run("serve", "--host", "0.0.0.0", "--port", "0", folder=tmp_path)
    refused(answer, 1, "0.0.0.0", "tritongate keys new")
    assert os.listdir(tmp_path) == []


def test_serve_refuses_a_keys_file_that_is_missing_or_damaged(tmp_path: Path) -> None:
    refused(run("serve", "--api-keys-file", "none.txt", folder=tmp_path), 1, "none.txt: No such file")
    (tmp_path / "bad.txt").write_text("secret\n")
    answer = run("serve", "--api-keys-file", "bad.txt", folder=tmp_path)
    refused(answer, 1, "bad.txt, line 1")
    assert "secret" not in answer.stderr


def test_serve_refuses_what_cannot_go_together(tmp_path: Path) -> None:
    refused(run("serve", "--triton", "grpc://h:1", "--model", "x", folder=tmp_path), 2, "--triton", "--model")
    refused(run("serve", "--repository", ".", "--model", "x", folder=tmp_path), 2, "--repository", "--model")


def test_serve_refuses_unknown_models_and_names_the_known(tmp_path: Path) -> None:
    answer = run("serve", "--port", "0", "--model", "gpt-9", folder=tmp_path)
    refused(answer, 2, "--model", "gpt-9", *(entry.id for entry in load_catalog().entries))


def test_serve_refuses_an_empty_repository(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    answer = run("serve", "--port", "0", "--repository", "empty", folder=tmp_path)
    refused(answer, 1, "empty", "config.pbtxt")


@pytest.mark.parametrize("url", ["localhost:8001", "http://localhost:8001", "grpc://localhost", "grpc://:8001"])
def test_triton_urls_of_another_form(tmp_path: Path, url: str) -> None:
    refused(run("serve", "--port", "0", "--triton", url, folder=tmp_path), 2, url, "grpc://host:port")
    refused(run("models", "--triton", url, folder=tmp_path), 2, url, "grpc://host:port")


def test_settings_that_make_no_sense_are_named(tmp_path: Path) -> None:
    answer = run("serve", folder=tmp_path, TRITONGATE_MAX_BODY_BYTES="-1", TRITONGATE_REQUEST_TIMEOUT="soon")
    refused(answer, 2, "TRITONGATE_MAX_BODY_BYTES: ", "TRITONGATE_REQUEST_TIMEOUT: ")


def test_models_lists_the_catalog(tmp_path: Path) -> None:
    answer = run("models", folder=tmp_path)
    assert answer.returncode == 0
    rows = {line[3:].split()[0]: line for line in answer.stdout.splitlines()[1:]}
    for entry in load_catalog().entries:
        row = rows[entry.id]
        assert row.startswith("*") == entry.default
        weights = "MB to download" if entry.files else "build/llm_engine.py builds it"
        assert entry.kind in row and entry.engine in row and weights in row


def test_models_knows_what_is_downloaded(tmp_path: Path) -> None:
    entry = load_catalog().entries[0]
    for file in entry.files:
        path = tmp_path / "files" / file.sha256 / file.name
        path.parent.mkdir(parents=True)
        path.touch()
        os.truncate(path, file.size)
    assert catalog_table((entry,), tmp_path).splitlines()[1].endswith(" downloaded")


def test_models_of_a_triton_that_is_not_there(tmp_path: Path) -> None:
    refused(
        run("models", "--triton", "grpc://127.0.0.1:1", folder=tmp_path), 1, "no Triton answers at grpc://127.0.0.1:1"
    )


def test_keys(tmp_path: Path) -> None:
    file = tmp_path / "secrets" / "keys.txt"
    keys = []
    for name in ("Ada", ""):
        answer = run("keys", "new", "--file", str(file), "--name", name, folder=tmp_path)
        assert answer.returncode == 0
        keys.append(answer.stdout.strip())
        assert f"--api-keys-file {file}" in answer.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not any(key in file.read_text() for key in keys)
    assert "Ada" in file.read_text()
    ring = KeyRing([], file)
    assert ring.count == 2
    assert all(ring.identify(key) for key in keys)
    assert ring.identify(keys[0] + "x") is None


def test_keys_file_of_before_is_kept_and_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("# ours")  # without an end of line
    file.chmod(0o644)
    assert run("keys", "new", folder=tmp_path, TRITONGATE_API_KEYS_FILE=str(file)).returncode == 0
    lines = file.read_text().splitlines()
    assert lines[0] == "# ours" and lines[1].startswith("sha256:") and len(lines) == 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_keys_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(run("keys", "new", "--file", "file/keys.txt", folder=tmp_path), 1, "file")


def test_doctor_on_this_machine(tmp_path: Path, downloads: str) -> None:
    answer = run("doctor", "--port", "0", folder=tmp_path, HF_ENDPOINT=f"{downloads}/hub", NO_PROXY="127.0.0.1")
    assert answer.returncode == 0, answer.stdout
    assert "warning  weights" in answer.stdout
    assert "ok       network: the model hub answers" in answer.stdout
    assert "Nothing is missing: tritongate serve" in answer.stdout


@pytest.mark.parametrize("command", ["serve", "models", "doctor"])
def test_a_triton_of_another_form(command: str, tmp_path: Path) -> None:
    answer = run(command, "--triton", "nonsense", folder=tmp_path)
    assert answer.returncode == 2
    assert "--triton nonsense: " in answer.stderr and "grpc://host:port" in answer.stderr
    assert "start Triton" not in answer.stdout


def test_doctor_says_what_mends_and_exits_1(tmp_path: Path, taken_port: int) -> None:
    answer = run("doctor", "--port", str(taken_port), "--triton", "grpc://127.0.0.1:1", folder=tmp_path)
    assert answer.returncode == 1
    lines = answer.stdout.splitlines()
    assert any(line.startswith(f"failed   127.0.0.1:{taken_port}: ") for line in lines)
    assert any(line.startswith("failed   Triton: no Triton answers at grpc://127.0.0.1:1") for line in lines)
    assert sum(line.startswith("         -> ") for line in lines) == 2
    assert "2 of 3 checks failed." in lines


BLOCKED = """
import sys
for name in ("pytriton", "xllamacpp", "llguidance", "onnx", "onnxruntime", "safetensors", "gguf"):
    sys.modules[name] = None
"""


def test_a_remote_triton_needs_nothing_of_the_cpu_extra(tmp_path: Path) -> None:
    """With none of its packages the commands that use a Triton elsewhere still get as far as asking it."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(BLOCKED)
    environment = {"PYTHONPATH": str(blocked)}
    refused(run("models", "--triton", "grpc://127.0.0.1:1", folder=tmp_path, **environment), 1, "no Triton answers")
    refused(
        run("serve", "--port", "0", folder=tmp_path, **environment), 1, "nvidia-pytriton is not installed", "--triton"
    )
    answer = run("doctor", "--port", "0", folder=tmp_path, **environment)
    assert answer.returncode == 1
    for subject in ("Triton", "xllamacpp", "onnxruntime"):
        assert f"failed   {subject}: " in answer.stdout
