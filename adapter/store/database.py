"""The connection to the database: SQLite in a file, or PostgreSQL, behind two kinds of transaction."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, event, exc, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from adapter.store.errors import StoreRefused, StoreUnavailable

BUSY_TIMEOUT = 15.0  # seconds that a write waits for another process's
_CONNECT_TIMEOUT = 10.0
_COMMAND_TIMEOUT = 60.0
_WRITE = "tritongate_write"
# SQLSTATE classes (PostgreSQL, appendix A): connection, read-only, deadlock, resources, shutdown, system.
_SERVER_AT_FAULT = ("08", "25", "40", "53", "57", "58")


class Database:
    """
    dialect: "sqlite" or "postgresql".
    shown_url: without the password.
    """

    def __init__(self, url: str, *, pooled: bool = True) -> None:
        """Connects when first used.

        Args:
            url: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`.
            pooled: whether connections are kept.

        Raises:
            StoreRefused: the URL is no such URL, or the driver for it is not installed.
        """
        parsed = _driver_url(url)
        self.dialect = parsed.get_backend_name()
        self.shown_url = parsed.set(drivername=self.dialect, query={}).render_as_string(hide_password=True)
        self.path = parsed.database if self.dialect == "sqlite" else None
        try:
            self._engine = _sqlite(parsed, pooled) if self.dialect == "sqlite" else _postgresql(parsed, pooled)
        except ImportError as error:
            raise StoreRefused(
                f"'{self.shown_url}' needs the Python package '{error.name}': install tritongate[postgres]."
            ) from error
        self.written = 0  # bytes, since somebody has last set it to 0
        self._failures = _failure_types(self.dialect)
        # SQLite has one writer: the others of this process wait here in turn, rather than each in a thread.
        self._writing = asyncio.Lock() if self.dialect == "sqlite" else None

    async def close(self) -> None:
        await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that changes nothing. Raises StoreUnavailable."""
        with self.unavailable():
            async with self._engine.connect() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: all of it is kept at the end, or, with an exception, nothing. Raises StoreUnavailable."""
        async with self._writing or contextlib.nullcontext():
            with self.unavailable():
                async with self._engine.connect() as connection:
                    await connection.execution_options(**{_WRITE: True})
                    async with connection.begin():
                        yield connection

    async def shrink(self, pages: int) -> None:
        """SQLite: gives pages of the file that hold nothing any more back. Raises StoreUnavailable."""
        async with self._writing or contextlib.nullcontext():
            with self.unavailable():
                async with self._engine.connect() as connection:
                    raw = (await connection.get_raw_connection()).driver_connection
                    assert raw is not None
                    # A step of the statement frees one page, and `execute` takes one step where there are no rows.
                    await raw.executescript(f"PRAGMA incremental_vacuum({pages})")

    def wrote(self, size: int) -> None:
        """Counts bytes of new records."""
        self.written += size

    def insert_or_ignore(self, table: Table) -> Any:
        """An INSERT that leaves a row with the same key as it is."""
        insert = sqlite.insert if self.dialect == "sqlite" else postgresql.insert
        return insert(table).on_conflict_do_nothing()

    @contextlib.contextmanager
    def unavailable(self) -> Iterator[None]:
        """Raises StoreUnavailable where the database, rather than a statement, is at fault."""
        try:
            yield
        except self._failures as error:
            raise StoreUnavailable(f"The store at {self.shown_url} does not answer: {_reason(error)}") from error
        except exc.DBAPIError as error:
            at_fault = str(getattr(error.orig, "sqlstate", None))[:2] in _SERVER_AT_FAULT
            if error.statement is not None and not error.connection_invalidated and not at_fault:
                raise
            raise StoreUnavailable(f"The store at {self.shown_url} cannot be reached: {_reason(error)}") from error


def _driver_url(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (exc.ArgumentError, ValueError):
        parsed, backend = None, ""
    if parsed is None or backend not in ("sqlite", "postgresql", "postgres"):
        scheme = url.partition(":")[0]
        raise StoreRefused(
            f"A store's URL is sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME, not '{scheme}:...'."
        )
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise StoreRefused("A store in SQLite needs a file: sqlite:///PATH.")
        return parsed.set(drivername="sqlite+aiosqlite")
    query = dict(parsed.query)
    if "sslmode" in query:  # libpq's name, which asyncpg takes by its own
        query["ssl"] = query.pop("sslmode")
    return parsed.set(drivername="postgresql+asyncpg", query=query)


def _sqlite(url: URL, pooled: bool) -> AsyncEngine:
    pool: dict[str, Any] = {"pool_size": 5, "max_overflow": 0, "pool_timeout": BUSY_TIMEOUT}
    engine = create_async_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT}, **(pool if pooled else {"poolclass": NullPool})
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = NORMAL")  # with WAL, a crash of the process loses nothing
        cursor.close()

    begin_explicitly(engine.sync_engine)
    return engine


def begin_explicitly(engine: Engine, *, always_write: bool = False) -> None:
    """SQLite: the driver's own transactions leave out what changes tables, and begin without the right to write."""

    @event.listens_for(engine, "connect")
    def _begin_nothing(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later would fail at once where another process has written.
        write = always_write or connection.get_execution_options().get(_WRITE)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _postgresql(url: URL, pooled: bool) -> AsyncEngine:
    pool: dict[str, Any] = {"pool_size": 5, "max_overflow": 10, "pool_timeout": _CONNECT_TIMEOUT, "pool_pre_ping": True}
    arguments = {
        "timeout": _CONNECT_TIMEOUT,
        "command_timeout": _COMMAND_TIMEOUT,
        "server_settings": {"application_name": "tritongate", "jit": "off"},
    }
    return create_async_engine(url, connect_args=arguments, **(pool if pooled else {"poolclass": NullPool}))


def _failure_types(dialect: str) -> tuple[type[BaseException], ...]:
    """What says that the database, rather than the statement, is at fault."""
    types: list[type[BaseException]] = [
        OSError,
        asyncio.TimeoutError,
        exc.OperationalError,
        exc.InterfaceError,
        exc.TimeoutError,
    ]
    if dialect == "sqlite":
        types += [sqlite3.Error]  # of what is done without SQLAlchemy
    else:
        import asyncpg

        types += [asyncpg.PostgresError, asyncpg.InterfaceError]  # raised as they are while connecting
    return tuple(types)


def _reason(error: BaseException) -> str:
    if isinstance(error, exc.DBAPIError):
        error = error.orig or error
    return (str(error).strip() or type(error).__name__).splitlines()[0]
