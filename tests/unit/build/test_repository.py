"""Publishing model folders: only what differs is touched, only what was made here is removed."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from build import repository
from build.repository import MANIFEST, Built, ModelFolder, RepositoryError, publish


def snapshot(output: Path) -> dict[str, tuple[int, int]]:
    """Identity and time of everything below a folder."""
    return {
        str(path.relative_to(output)): (path.lstat().st_ino, path.lstat().st_mtime_ns)
        for path in sorted(output.rglob("*"))
    }


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    return path


def folder(name: str, weights: Path, config: bytes = b"name") -> ModelFolder:
    return ModelFolder(name, {"config.pbtxt": config, "1/model.py": b"code", "1/model.gguf": weights})


def test_a_repository_is_written(tmp_path: Path, weights: Path) -> None:
    output = tmp_path / "below" / "repository"
    assert publish(output, [folder("a", weights), ModelFolder("b")]) == ["a: written", "b: written"]
    assert (output / "a" / "config.pbtxt").read_bytes() == b"name"
    assert (output / "a" / "1" / "model.gguf").readlink() == weights
    assert (output / "b" / "1").is_dir()
    assert sorted(path.name for path in output.parent.iterdir()) == [".repository.lock", "repository"]


@pytest.mark.parametrize("copy", [False, True])
def test_doing_it_again_touches_nothing(tmp_path: Path, weights: Path, copy: bool) -> None:
    output = tmp_path / "repository"
    publish(output, [folder("a", weights)], copy=copy)
    (output / "a" / "1" / "__pycache__").mkdir()
    (output / "a" / "1" / "__pycache__" / "model.pyc").write_bytes(b"python's own")
    before = snapshot(output)
    assert publish(output, [folder("a", weights)], copy=copy) == []
    assert snapshot(output) == before


def test_only_what_differs_is_replaced(tmp_path: Path, weights: Path) -> None:
    output = tmp_path / "repository"
    publish(output, [folder("a", weights), folder("b", weights)])
    before = snapshot(output / "b")
    assert publish(output, [folder("a", weights, b"new"), folder("b", weights)]) == ["a: written"]
    assert (output / "a" / "config.pbtxt").read_bytes() == b"new"
    assert snapshot(output / "b") == before


@pytest.mark.parametrize("damage", ["extra", "missing", "edited", "dangling", "another"])
def test_what_was_changed_by_hand_is_put_right(tmp_path: Path, weights: Path, damage: str) -> None:
    output = tmp_path / "repository"
    publish(output, [folder("a", weights)])
    link = output / "a" / "1" / "model.gguf"
    if damage == "extra":
        (output / "a" / "1" / "other.py").write_bytes(b"")
    elif damage == "missing":
        (output / "a" / "1" / "model.py").unlink()
    elif damage == "edited":
        (output / "a" / "config.pbtxt").write_bytes(b"other")
    elif damage == "dangling":
        link.unlink()
        link.symlink_to(tmp_path / "gone")
    else:
        link.unlink()
        link.write_bytes(b"a copy")
    assert publish(output, [folder("a", weights)]) == ["a: written"]
    assert publish(output, [folder("a", weights)]) == []


def test_copies_hold_no_links(tmp_path: Path, weights: Path) -> None:
    output = tmp_path / "repository"
    publish(output, [folder("a", weights)])
    assert publish(output, [folder("a", weights)], copy=True) == ["a: written"]
    assert not (output / "a" / "1" / "model.gguf").is_symlink()
    assert (output / "a" / "1" / "model.gguf").read_bytes() == b"weights"
    later = (output / "a" / "1" / "model.gguf").stat().st_mtime + 10
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, (later, later))
    assert publish(output, [folder("a", weights)], copy=True) == ["a: written"]
    assert (output / "a" / "1" / "model.gguf").read_bytes() == b"WEIGHTS"


def test_copies_that_do_not_fit_are_not_begun(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "repository"
    publish(output, [folder("a", weights)], copy=True)
    before = snapshot(output)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1 << 30, 1 << 30, 0))  # type: ignore[attr-defined]
        with pytest.raises(RepositoryError, match=r"needed for the copies in .*, 0\.0 GB are free: make room"):
            publish(output, [folder("a", weights), folder("b", weights)], copy=True)
        assert publish(output, [folder("a", weights)], copy=True) == [], "what is there already needs no room"
    assert snapshot(output) == before
    assert publish(output, [folder("b", weights)]) == ["b: written", "a: removed"], "links need none either"


def test_what_is_no_longer_wanted_goes_and_what_is_not_ours_stays(tmp_path: Path, weights: Path) -> None:
    output = tmp_path / "repository"
    publish(output, [folder("a", weights), folder("b", weights)])
    (output / "theirs" / "1").mkdir(parents=True)
    assert publish(output, [folder("b", weights)]) == ["a: removed"]
    assert sorted(path.name for path in output.iterdir()) == [MANIFEST, "b", "theirs"]
    assert weights.read_bytes() == b"weights"


def test_a_folder_that_is_not_ours_is_never_overwritten(tmp_path: Path, weights: Path) -> None:
    output = tmp_path / "repository"
    (output / "a").mkdir(parents=True)
    (output / "a" / "config.pbtxt").write_bytes(b"theirs")
    with pytest.raises(RepositoryError, match="was not made by"):
        publish(output, [folder("b", weights), folder("a", weights)])
    assert (output / "a" / "config.pbtxt").read_bytes() == b"theirs" and not (output / "b").exists()


def test_two_folders_of_one_name_are_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(RepositoryError, match="two models are named a"):
        publish(tmp_path / "repository", [folder("a", weights), folder("a", weights, b"other")])
    assert not (tmp_path / "repository").exists()


def test_a_failure_leaves_the_repository_as_it_was(tmp_path: Path, weights: Path) -> None:
    output = tmp_path / "repository"
    publish(output, [folder("a", weights)])
    before = snapshot(output)
    with pytest.raises(FileNotFoundError):
        publish(output, [folder("a", tmp_path / "gone", b"new")], copy=True)
    assert snapshot(output) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".repository.lock", "repository", "weights"]


def test_an_unreadable_manifest_is_said(tmp_path: Path, weights: Path) -> None:
    output = tmp_path / "repository"
    publish(output, [folder("a", weights)])
    (output / MANIFEST).write_text("{")
    with pytest.raises(RepositoryError, match=MANIFEST):
        publish(output, [folder("a", weights)])


def test_a_reader_never_sees_half_a_folder(tmp_path: Path, weights: Path) -> None:
    """While folders are replaced over and over, config and code that are read are whole ones."""
    output = tmp_path / "repository"
    versions = [folder("a", weights, config=str(number).encode() * 100_000) for number in range(2)]
    publish(output, [versions[0]])
    wrong: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                content = (output / "a" / "config.pbtxt").read_bytes()
            except FileNotFoundError:  # between the two renames
                continue
            if content not in (b"0" * 100_000, b"1" * 100_000):
                wrong.append(len(content))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        publish(output, [versions[number % 2]])
    done.set()
    reader.join()
    assert wrong == []


def test_kept_folders_stay_and_are_still_known(tmp_path: Path) -> None:
    output = tmp_path / "repository"
    publish(output, [ModelFolder("a", {"config.pbtxt": b"a"})])
    assert publish(output, [ModelFolder("b", {"config.pbtxt": b"b"})], keep=True) == ["b: written"]
    assert publish(output, [ModelFolder("b", {"config.pbtxt": b"b"})], keep=True) == []
    assert (output / "a" / "config.pbtxt").read_bytes() == b"a"
    assert publish(output, [ModelFolder("b", {"config.pbtxt": b"b"})]) == ["a: removed"]


def engine(built: Path, config: bytes = b"name") -> ModelFolder:
    return ModelFolder("a", {"config.pbtxt": config, "engine/rank0.engine": Built(built)})


def build(built: Path, content: bytes) -> None:
    """As a stage puts its files into place."""
    shutil.rmtree(built.parent, ignore_errors=True)
    built.parent.mkdir()
    built.write_bytes(content)


def test_what_was_built_is_kept_until_the_repository_is_assembled_anew(tmp_path: Path) -> None:
    output, built = tmp_path / "repository", tmp_path / "build" / "rank0.engine"
    build(built, b"first")
    publish(output, [engine(built)])
    served = output / "a" / "engine" / "rank0.engine"
    assert served.samefile(built) and not served.is_symlink(), "and takes no space"
    assert publish(output, [engine(built)]) == []
    build(built, b"second")
    assert served.read_bytes() == b"first", "its configuration is for that one"
    assert publish(output, [engine(built)]) == ["a: written"]
    assert served.read_bytes() == b"second"
    assert publish(output, [engine(built)], copy=True) == [], "it stands by itself already"


def test_where_disks_take_no_hard_link_it_is_a_symbolic_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_disk(*arguments: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(repository.os, "link", other_disk)
    output, built = tmp_path / "repository", tmp_path / "build" / "rank0.engine"
    build(built, b"first")
    publish(output, [engine(built)])
    assert (output / "a" / "engine" / "rank0.engine").readlink() == built
    assert publish(output, [engine(built)]) == []


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_with_or_without_an_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(repository, "_exchange", lambda first, second: False)
    moves: list[str] = []
    move = repository._move
    monkeypatch.setattr(repository, "_move", lambda source, target: (moves.append(source.name), move(source, target)))
    output, built = tmp_path / "repository", tmp_path / "build" / "rank0.engine"
    build(built, b"first")
    publish(output, [engine(built)])
    assert moves == ["a"]
    publish(output, [engine(built, b"other")])
    assert (output / "a" / "config.pbtxt").read_bytes() == b"other"
    assert moves == (["a"] if exchange else ["a"] * 3), "it is never missing in between"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".repository.lock", "build", "repository"]


def test_what_consists_of_others_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    move = repository._move
    monkeypatch.setattr(repository, "_move", lambda source, target: (order.append(source.name), move(source, target)))
    publish(tmp_path / "repository", [ModelFolder(name) for name in ("ensemble", "first", "second")])
    assert order == ["second", "first", "ensemble"]
