"""Stores in SQLite and in PostgreSQL: a test that asks for `store` or `url` runs in both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapter.store.migrate import migrate
from adapter.store.store import Store
from adapter.store.tables import metadata
from tests.support.postgres import Postgres, running_postgres

TTL = 1000.0
OpenStore = Callable[..., Awaitable[Store]]


class Clock:
    """A time that only passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def shared(postgres: Postgres) -> str:
    """The name of a database with the tables, which the tests use in turn: a new one each takes longer."""
    name = postgres.create()
    asyncio.run(migrate(postgres.url(name)))
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(server.create())


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    name = request.getfixturevalue("shared")
    server.query(name, *(f"DELETE FROM {table}" for table in reversed(metadata.sorted_tables)))
    return server.url(name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def open_store(url: str, clock: Clock) -> AsyncIterator[OpenStore]:
    """Opens another store on the database, as another process would: `await open_store(max_bytes=1000)`."""
    opened: list[Store] = []

    async def open_one(**settings: Any) -> Store:
        store = await Store.open(url, **{"ttl": TTL, "max_bytes": 1 << 30, "clock": clock, **settings})
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: OpenStore) -> Store:
    return await open_store()
