"""Brings a database to this program's tables: once, however many processes start at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.pool import NullPool

from adapter.store.database import BUSY_TIMEOUT, Database, begin_explicitly
from adapter.store.errors import StoreRefused, StoreUnavailable

_SCRIPTS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x7472746E67617465  # "trtngate"; any number of our own
_LOCK_WITHIN = 60.0  # seconds that a start waits for another one's migration
_one_at_a_time = threading.Lock()  # alembic keeps the migration that runs in a global


async def migrate(url: str) -> None:
    """Migrates the database at `url`, in a thread: alembic blocks.

    Raises:
        StoreRefused: the URL means nothing, or the database is newer than this program; it is left as it is.
        StoreUnavailable: it cannot be reached.
    """
    await asyncio.to_thread(_migrate, Database(url, pooled=False))


def _migrate(database: Database) -> None:
    with _one_at_a_time:
        if database.path is None:
            asyncio.run(_migrate_postgresql(database))
        else:
            with database.unavailable():
                _migrate_sqlite(Path(database.path), database.shown_url)


async def _migrate_postgresql(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        await connection.run_sync(_upgrade, database.shown_url)


def _migrate_sqlite(path: Path, shown_url: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _file_lock(path.with_name(path.name + ".lock"), shown_url):
        path.touch(mode=0o600)  # what people say is kept from the machine's other users; SQLite's other files follow
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT)) as connection:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of effect in a new file only
            connection.execute("PRAGMA journal_mode = WAL")  # readers and a writer at the same time
        # Foreign keys are not enforced here: a migration that puts a new table in the place of one drops that.
        engine = create_engine(
            URL.create("sqlite", database=str(path)), poolclass=NullPool, connect_args={"timeout": BUSY_TIMEOUT}
        )
        begin_explicitly(engine, always_write=True)
        with engine.begin() as upgraded:
            _upgrade(upgraded, shown_url)


@contextlib.contextmanager
def _file_lock(path: Path, shown_url: str) -> Iterator[None]:
    """Held by one process at a time. SQLite's own lock does not do: its journal cannot be changed while it is held."""
    give_up_at = time.monotonic() + _LOCK_WITHIN
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up_at:
                    raise StoreUnavailable(f"Another process has been setting up {shown_url} for too long.") from None
                time.sleep(0.02)
        yield


def _upgrade(connection: Connection, shown_url: str) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    for revision in MigrationContext.configure(connection).get_current_heads():
        if revision not in known:
            raise StoreRefused(
                f"The store at {shown_url} was written by a newer version of this program (its tables are of revision "
                f"'{revision}'). Use that version, or another database."
            )
    command.upgrade(config, "head")
