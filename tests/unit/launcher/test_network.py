"""The check of `tritongate doctor` that asks where models come from, with a hub and an index of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from build.catalog import ModelEntry, load_catalog
from launcher.checks import Verdict
from launcher.network import network
from tests.unit.launcher.test_checks import place

(ENTRY,) = (entry for entry in load_catalog().defaults() if entry.kind == "embedding")


@pytest.fixture(autouse=True)
def nothing_else_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


@pytest.mark.parametrize(("hub", "index"), [("/hub", "/simple/"), ("/hub", "/none/"), ("/none", "/simple/")])
def test_one_place_is_enough(
    hub: str, index: str, downloads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", downloads + hub)
    monkeypatch.setenv("PIP_INDEX_URL", downloads + index)
    finding = network((ENTRY,), tmp_path)
    assert finding.verdict is Verdict.OK
    assert ("the model hub answers" in finding.detail) == (hub == "/hub")
    assert ("the package index answers" in finding.detail) == (index == "/simple/")


@pytest.mark.parametrize("cached", [False, True])
def test_no_place_answers(cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No reason not to serve what is here already."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple/")
    if cached:
        place(ENTRY, tmp_path)
    finding = network((ENTRY,), tmp_path)
    assert finding.verdict is (Verdict.WARNING if cached else Verdict.FAILED)
    for word in ("model hub does not answer", "package index does not answer"):
        assert word in finding.detail
    assert "HF_ENDPOINT" in finding.mend and "HTTPS_PROXY" in finding.mend


def test_places_that_no_file_comes_from_are_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.network.reach", lambda source: pytest.fail("it was asked"))
    monkeypatch.setattr("launcher.network.Hub", lambda: pytest.fail("it was asked"))
    empty: tuple[ModelEntry, ...] = ()
    assert network(empty, tmp_path).verdict is Verdict.OK
