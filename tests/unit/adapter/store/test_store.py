from __future__ import annotations

import asyncio
import fcntl
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from adapter.store import database as database_module
from adapter.store import migrate as migrate_module
from adapter.store.database import Database
from adapter.store.errors import StoreRefused, StoreUnavailable
from adapter.store.migrate import migrate
from adapter.store.store import Store
from adapter.store.tables import metadata
from tests.support.postgres import Postgres
from tests.unit.adapter.store.conftest import OpenStore
from tests.unit.adapter.store.records import finish, insert, message


async def test_secret_is_the_databases_own(store: Store, open_store: OpenStore) -> None:
    assert len(store.secret()) == 32
    assert (await open_store()).secret() == store.secret()


async def test_secrets_of_two_databases_differ(tmp_path: Path) -> None:
    secrets = set()
    for name in ("one.db", "two.db"):
        store = await Store.open(f"sqlite:///{tmp_path / name}", ttl=1.0, max_bytes=1)
        secrets.add(store.secret())
        await store.close()
    assert len(secrets) == 2


async def test_migrations_make_the_tables_that_the_code_knows(empty_url: str) -> None:
    def difference(connection: Connection) -> object:
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)

    await migrate(empty_url)
    database = Database(empty_url)
    async with database.read() as connection:
        assert await connection.run_sync(difference) == []
    await database.close()


async def test_records_survive_a_new_start(open_store: OpenStore) -> None:
    first = await open_store()
    await insert(first, "resp_1", message("msg_1"))
    await finish(first, "resp_1", message("msg_2"))
    await first.close()
    kept = await (await open_store()).responses.get("ann", "resp_1")
    assert kept is not None and kept.body["output"] == [message("msg_2")]


async def test_newer_database_is_refused_and_left_alone(empty_url: str) -> None:
    await migrate(empty_url)
    database = Database(empty_url)
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreRefused, match=r"newer version.*9999"):
        await Store.open(empty_url, ttl=1.0, max_bytes=1)
    async with database.read() as connection:
        assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    await database.close()


async def test_start_waits_for_another_that_sets_the_file_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate_module, "_LOCK_WITHIN", 0.1)
    with (tmp_path / "store.db.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="setting up"):
            await Store.open(f"sqlite:///{tmp_path}/store.db", ttl=1.0, max_bytes=1)
        assert not (tmp_path / "store.db").exists()
    store = await Store.open(f"sqlite:///{tmp_path}/store.db", ttl=1.0, max_bytes=1)
    await store.close()


@pytest.mark.parametrize(
    "url", ["mysql://host/db", "", "store.db", "sqlite://", "sqlite:///:memory:", "postgresql://host:port/db"]
)
async def test_url_that_means_nothing_is_refused(url: str) -> None:
    with pytest.raises(StoreRefused, match="sqlite:///PATH"):
        await Store.open(url, ttl=1.0, max_bytes=1)


def test_urls_as_people_write_them() -> None:
    for url in ("postgres://u:secret@host/db?sslmode=require", "postgresql+asyncpg://u:secret@host/db"):
        database = Database(url)
        assert database.dialect == "postgresql"
        assert "secret" not in database.shown_url and "host/db" in database.shown_url


async def test_database_that_cannot_be_reached(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "text.db").write_bytes(b"This is no database. " * 100)
    for url in (
        f"sqlite:///{tmp_path}/file/store.db",
        f"sqlite:///{tmp_path}",
        f"sqlite:///{tmp_path}/text.db",
        f"postgresql://u:hunter2@/db?host={tmp_path}",
        "postgresql://u:hunter2@127.0.0.1:1/db",
    ):
        with pytest.raises(StoreUnavailable) as unavailable:
            await Store.open(url, ttl=1.0, max_bytes=1)
        assert "hunter2" not in str(unavailable.value)


async def test_database_that_goes_and_comes_back(postgres: Postgres) -> None:
    name = postgres.create()
    store = await Store.open(postgres.url(name), ttl=1000.0, max_bytes=1 << 30)
    await insert(store, "resp_1")
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    postgres.query("postgres", end)
    assert await store.responses.get("ann", "resp_1") is not None  # on a new connection
    postgres.query("postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", end)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await store.responses.get("ann", "resp_1")
        with pytest.raises(StoreUnavailable):
            await insert(store, "resp_2")
    read_only = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    postgres.query("postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS true", read_only)  # as a stand-by is
    assert await store.responses.get("ann", "resp_1") is not None
    with pytest.raises(StoreUnavailable, match="read-only"):
        await insert(store, "resp_2")
    postgres.query("postgres", f"ALTER DATABASE {name} RESET default_transaction_read_only", end)
    await insert(store, "resp_2")
    assert await store.responses.get("ann", "resp_2") is not None
    await store.close()


async def test_file_that_another_writes_for_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT", 0.1)
    store = await Store.open(f"sqlite:///{tmp_path}/store.db", ttl=1000.0, max_bytes=1 << 30)
    await insert(store, "resp_1")
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await insert(store, "resp_2")
    assert await store.responses.get("ann", "resp_1") is not None
    other.execute("ROLLBACK")
    other.close()
    await insert(store, "resp_2")
    await store.close()


async def test_calls_that_are_cancelled_leave_a_usable_store(store: Store) -> None:
    for number in range(30):
        call = asyncio.ensure_future(insert(store, f"resp_{number}", message(f"msg_{number}")))
        for _ in range(number):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        record = await store.responses.get("ann", f"resp_{number}")
        item = await store.responses.find_item("ann", f"msg_{number}")
        assert (record is None) == (item is None)  # all of it or nothing
    await asyncio.gather(*(insert(store, f"resp_late_{number}") for number in range(20)))
    assert await store.responses.get("ann", "resp_late_19") is not None


async def test_file_is_nobody_elses(tmp_path: Path) -> None:
    store = await Store.open(f"sqlite:///{tmp_path}/store.db", ttl=1000.0, max_bytes=1 << 30)
    await insert(store, "resp_1")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("store.db*") if path.suffix != ".lock"}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}
    await store.close()


async def test_space_of_what_is_gone_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await Store.open(f"sqlite:///{path}", ttl=1000.0, max_bytes=100_000)
    for number in range(20):
        body = {"id": f"chatcmpl-{number}", "model": "m"}
        await store.completions.insert("ann", body, [{"content": "x" * 50_000}], {})
    assert (await store.sweep()).evicted == 19
    await store.close()  # the log goes into the file
    assert path.stat().st_size < 400_000
