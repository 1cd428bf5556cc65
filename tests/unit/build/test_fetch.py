"""Fetching over real HTTP, through the real pip, and from folders: resumed, verified, in the order of the sources."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from build import fetch as fetch_module
from build import transfer
from build.catalog import PathSource
from build.fetch import cached, fetch, main
from build.hub import Hub
from build.transfer import FetchError
from tests.unit.build.file_server import FileServer
from tests.unit.build.model_files import CONTENT, HUB, HUB_PATH, entry, hub_of, model_file


def nothing_left(cache: Path) -> bool:
    """No file is given out, and none is on its way."""
    return not [path for folder in ("files", "partial") for path in (cache / folder).rglob("*") if path.is_file()]


def test_a_file_comes_from_the_hub_and_is_there_the_next_time(server: FileServer, cache: Path) -> None:
    wanted = model_file(HUB)
    paths = fetch(entry(wanted), cache, hub=hub_of(server))
    assert paths["weights.gguf"].read_bytes() == CONTENT
    assert paths["weights.gguf"] == cached(wanted, cache)
    assert fetch(entry(wanted), cache, hub=hub_of(server)) == paths
    assert server.requests == [(HUB_PATH, None)]


def test_redirects_are_followed(server: FileServer, cache: Path) -> None:
    server.files["/elsewhere"] = server.files.pop(HUB_PATH)
    server.redirects[HUB_PATH] = "/elsewhere"
    assert fetch(entry(model_file(HUB)), cache, hub=hub_of(server))["weights.gguf"].read_bytes() == CONTENT


def test_a_broken_connection_is_taken_up_where_it_broke(server: FileServer, cache: Path) -> None:
    server.break_after = [1_000_000, 500_000]
    assert fetch(entry(model_file(HUB)), cache, hub=hub_of(server))["weights.gguf"].read_bytes() == CONTENT
    assert [header for _, header in server.requests] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_call_goes_on_from_what_has_come(server: FileServer, cache: Path) -> None:
    server.break_after = [1_000_000] + [0] * 20
    with pytest.raises(FetchError, match="broken off at 1,000,000 bytes"):
        fetch(entry(model_file(HUB)), cache, hub=hub_of(server))
    assert cached(model_file(HUB), cache) is None
    server.break_after, server.requests = [], []
    fetch(entry(model_file(HUB)), cache, hub=hub_of(server))
    assert server.requests == [(HUB_PATH, "bytes=1000000-")]


def test_a_server_without_ranges_starts_over(server: FileServer, cache: Path) -> None:
    server.ranges, server.break_after = False, [1_000_000]
    assert fetch(entry(model_file(HUB)), cache, hub=hub_of(server))["weights.gguf"].read_bytes() == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        (CONTENT[:-1] + b"\0", "sha256 is"),
        (CONTENT + b"more", "longer than 3,000,000 bytes"),
        (CONTENT[:1000], "ended after 1,000 of 3,000,000|ends before"),
    ],
)
def test_another_file_is_refused_and_not_kept(server: FileServer, cache: Path, served: bytes, reason: str) -> None:
    server.files[HUB_PATH] = served
    with pytest.raises(FetchError, match=reason):
        fetch(entry(model_file(HUB)), cache, hub=hub_of(server))
    assert cached(model_file(HUB), cache) is None
    assert not list((cache / "files").rglob("*")) if (cache / "files").exists() else True


def test_a_wrong_part_of_an_earlier_run_does_not_spoil_the_file(server: FileServer, cache: Path) -> None:
    wanted = model_file(HUB)
    (cache / "partial").mkdir(parents=True)
    (cache / "partial" / f"{wanted.sha256}.hub").write_bytes(b"\0" * 1000)
    assert fetch(entry(wanted), cache, hub=hub_of(server))["weights.gguf"].read_bytes() == CONTENT
    assert [header for _, header in server.requests] == ["bytes=1000-", None]
    assert not list((cache / "partial").glob(f"{wanted.sha256}*"))


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_the_next_source_is_tried(server: FileServer, cache: Path, tmp_path: Path, status: int) -> None:
    server.status = status
    (tmp_path / "weights").write_bytes(CONTENT)
    lines: list[str] = []
    wanted = model_file(HUB, PathSource(tmp_path / "weights"))
    fetch(entry(wanted), cache, hub=hub_of(server), notify=lines.append)
    assert f"status {status}" in lines[0] and "trying file" in lines[0]
    assert "sha256 verified" in lines[-1]


def test_all_reasons_are_named_when_no_source_works(server: FileServer, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"short")
    wanted = model_file(PathSource(tmp_path / "none"), PathSource(tmp_path / "short"), HUB)
    server.status = 404
    with pytest.raises(FetchError) as caught:
        fetch(entry(wanted), cache, hub=hub_of(server))
    message = str(caught.value)
    assert "no such file" in message and "5 bytes, 3,000,000 are right" in message and "status 404" in message
    assert nothing_left(cache)


def test_an_unreachable_hub_is_asked_once(cache: Path, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]  # bound and not listening: refused
        files = []
        for index in range(3):
            content = CONTENT[: 1000 + index]
            (tmp_path / f"{index}").write_bytes(content)
            files.append(model_file(HUB, PathSource(tmp_path / f"{index}"), content=content, name=f"{index}.gguf"))
        lines: list[str] = []
        started = time.monotonic()
        fetch(entry(*files), cache, hub=Hub(f"http://127.0.0.1:{port}"), notify=lines.append)
        assert time.monotonic() - started < 10
    assert len([line for line in lines if "not reachable" in line]) == 1


def test_offline_means_that_no_hub_is_asked(
    server: FileServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    (tmp_path / "weights").write_bytes(CONTENT)
    fetch(entry(model_file(HUB, PathSource(tmp_path / "weights"))), cache)
    assert server.requests == []


def test_the_endpoint_is_taken_from_the_environment(
    server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", server.url + "/")
    fetch(entry(model_file(HUB)), cache)
    assert server.requests == [(HUB_PATH, None)]


def test_files_of_a_given_folder_come_first(server: FileServer, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "weights.gguf").write_bytes(CONTENT)
    found = fetch(entry(model_file(HUB)), cache, hub=hub_of(server), given=tmp_path / "mine")["weights.gguf"]
    assert found.read_bytes() == CONTENT and server.requests == []
    with (tmp_path / "mine" / "weights.gguf").open("r+b") as mine:  # in place, as an editor or a download may do it
        mine.write(b"another")
    assert found.read_bytes() == CONTENT
    (tmp_path / "mine" / "weights.gguf").unlink()
    assert found.read_bytes() == CONTENT


def test_where_blocks_can_be_shared_a_copy_takes_no_space(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def clone(copy: BinaryIO, request: int, original: int) -> None:
        asked.append(request)
        copy.write(os.pread(original, len(CONTENT), 0))

    monkeypatch.setattr(fetch_module.fcntl, "ioctl", clone)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    (tmp_path / "weights.gguf").write_bytes(CONTENT)
    wanted = model_file(PathSource(tmp_path / "weights.gguf"))
    assert fetch(entry(wanted), cache)["weights.gguf"].read_bytes() == CONTENT
    assert asked == [0x40049409]  # FICLONE of linux/fs.h


def test_a_copy_that_does_not_fit_is_said(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fetch_module.fcntl, "ioctl", refuse)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    (tmp_path / "weights.gguf").write_bytes(CONTENT)
    with pytest.raises(FetchError, match="TRITONGATE_CACHE"):
        fetch(entry(model_file(PathSource(tmp_path / "weights.gguf"))), cache)
    assert cached(model_file(HUB), cache) is None


def test_a_given_file_that_is_another_one_is_left_alone(server: FileServer, cache: Path, tmp_path: Path) -> None:
    mine = tmp_path / "weights.gguf"
    mine.write_bytes(CONTENT[:-1] + b"\0")
    lines: list[str] = []
    fetch(entry(model_file(HUB)), cache, hub=hub_of(server), given=tmp_path, notify=lines.append)
    assert "sha256 is" in lines[0]
    assert mine.read_bytes() == CONTENT[:-1] + b"\0"


def test_a_full_disk_is_said_before_anything_is_fetched(
    server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(FetchError, match="TRITONGATE_CACHE"):
        fetch(entry(model_file(HUB)), cache, hub=hub_of(server))
    assert server.requests == []


def test_two_at_once_share_one_download(server: FileServer, cache: Path) -> None:
    wanted = model_file(HUB)
    found: list[Path] = []

    def run() -> None:
        found.append(fetch(entry(wanted), cache, hub=hub_of(server))["weights.gguf"])

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and found[0].read_bytes() == CONTENT and len(found) == 8
    assert len(server.requests) == 1


def test_another_process_is_waited_for(server: FileServer, cache: Path) -> None:
    cache.mkdir()
    lines: list[str] = []
    with (cache / "fetch.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(
            target=lambda: fetch(entry(model_file(HUB)), cache, hub=hub_of(server), notify=lines.append)
        )
        thread.start()
        deadline = time.monotonic() + 20
        while not lines and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "waiting" in lines[0] and server.requests == []
    thread.join(20)
    assert cached(model_file(HUB), cache) is not None


# The command.

CATALOG = """
[[models]]
id = "me/tiny"
default = true
kind = "chat"
engine = "llama_cpp"
family = "tiny"
context_length = 64
owned_by = "me"
license = "mit"
created = 2024-01-02
[[models.files]]
name = "weights.gguf"
role = "weights"
size = {size}
sha256 = "{sha256}"
sources = [ {{ path = "weights.gguf" }} ]
"""


def write_catalog(folder: Path, content: bytes) -> Path:
    path = folder / "catalog.toml"
    path.write_text(CATALOG.format(size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()))
    (folder / "weights.gguf").write_bytes(content)
    return path


def test_the_command_prints_the_paths(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path, CONTENT)
    environment = {**os.environ, "TRITONGATE_CACHE": str(tmp_path / "cache")}
    script = Path(fetch_module.__file__)
    command = [sys.executable, str(script), "--catalog", str(catalog), "me/tiny"]
    result = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).read_bytes() == CONTENT
    assert "sha256 verified" in result.stderr


def test_the_command_fails_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITONGATE_CACHE", str(tmp_path / "cache"))
    catalog = write_catalog(tmp_path, CONTENT[1:] + b"\0")
    assert main(["--catalog", str(catalog)]) == 1
    assert "sha256 is" in capsys.readouterr().err
    assert main(["--catalog", str(catalog), "me/nothing"]) == 1
    assert "it has me/tiny" in capsys.readouterr().err


def test_a_terminal_sees_a_bar(tmp_path: Path, server: FileServer) -> None:
    """The bar is drawn on a terminal: a pseudo-terminal takes the place of one."""
    catalog = write_catalog(tmp_path, CONTENT)
    source = '{ hub = "owner/name", revision = "abc123", file = "folder/weights.gguf" }'
    catalog.write_text(catalog.read_text().replace('{ path = "weights.gguf" }', source))
    ours, theirs = os.openpty()
    environment = {**os.environ, "TRITONGATE_CACHE": str(tmp_path / "cache"), "TERM": "xterm"}
    environment["HF_ENDPOINT"] = server.url
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, str(Path(fetch_module.__file__)), "--catalog", str(catalog)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(30) == 0
    assert b"weights.gguf" in seen and "━".encode() in seen and b"MB" in seen
