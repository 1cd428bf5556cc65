"""deploy/secrets.sh makes what the adapter reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

from adapter.security.keys import KeyRing
from adapter.settings import Settings
from adapter.store.database import Database

from .repository_files import DEPLOY


def make(folder: Path) -> str:
    return subprocess.run([DEPLOY / "secrets.sh", folder], check=True, capture_output=True, text=True).stdout


def test_the_key_it_prints_opens_the_server_and_is_not_kept(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    key = make(folder).split()[-1]
    keys = KeyRing([], folder / "api_keys")
    assert keys.count == 2
    assert keys.identify(key) is not None
    assert keys.identify((folder / "metrics_key").read_text()) is not None
    assert keys.identify("tg-wrong") is None
    assert not any(key in path.read_text() for path in folder.iterdir())
    assert folder.stat().st_mode & 0o077 == 0


def test_the_stores_url_is_one_with_the_databases_password(tmp_path: Path) -> None:
    make(tmp_path)
    url = Settings(store_url="", store_url_file=tmp_path / "store_url").database_url()
    assert url == f"postgresql://tritongate:{(tmp_path / 'postgres_password').read_text()}@postgres:5432/tritongate"
    Database(url)


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    make(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert make(tmp_path) == ""
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
