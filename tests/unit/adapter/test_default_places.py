"""Where the adapter keeps things when it is not told."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.app import default_cache
from tokentext.cache import cache_folder


@pytest.mark.parametrize(
    ("given", "folder"),
    [("~/models", "home/models"), ("", "home/.cache/tritongate"), ("cache", "here/cache")],
)
def test_tokenizers_lie_beside_the_weights(
    given: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRITONGATE_CACHE", given)
    assert default_cache() == tmp_path / folder / "tokenizers"
    assert default_cache().parent == cache_folder()
