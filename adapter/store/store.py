"""The store: what clients may ask for again, in one database that several processes can share."""

from __future__ import annotations

import time
from collections.abc import Callable

from adapter.store.completions import Completions
from adapter.store.conversations import Conversations
from adapter.store.database import Database
from adapter.store.events import Events
from adapter.store.files import Files
from adapter.store.limits import Limits
from adapter.store.migrate import migrate
from adapter.store.responses import Responses
from adapter.store.secrets import shared_secret
from adapter.store.sweeper import Sweeper, Swept
from adapter.store.vector_chunks import VectorChunks
from adapter.store.vector_claims import VectorClaims
from adapter.store.vector_store_files import VectorStoreFiles
from adapter.store.vector_stores import VectorStores

MAX_RECORD_BYTES = 64 << 20
_SWEEP_AT = 32  # part of `max_bytes` that may be written between two sweeps


class Store:
    """Every record belongs to an `owner`, the id of an API key ("" without keys); others' are not there.

    Any method raises `StoreUnavailable` (adapter/store/errors.py) when the database does not answer.
    """

    def __init__(self, database: Database, limits: Limits, secret: bytes) -> None:
        self.responses = Responses(database, limits)
        self.events = Events(database, limits)
        self.conversations = Conversations(database, limits)
        self.completions = Completions(database, limits)
        self.files = Files(database, limits)
        self.vector_stores = VectorStores(database, limits)
        self.vector_store_files = VectorStoreFiles(database, limits)
        self.vector_claims = VectorClaims(database, limits)
        self.vector_chunks = VectorChunks(database, limits)
        self._database = database
        self._limits = limits
        self._secret = secret
        self._sweeper = Sweeper(database, limits)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        ttl: float,
        max_bytes: int,
        max_record_bytes: int = MAX_RECORD_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> Store:
        """Connects, and brings the tables up to date.

        Args:
            url: `sqlite:///PATH` (`sqlite:////PATH` for an absolute one; folder and file are made where missing) or
                `postgresql://USER:PASSWORD@HOST:PORT/NAME`.
            ttl: seconds that a record is kept after its last change (files, conversations: use).
            max_bytes: of all records; over it the oldest go, at `sweep`.
            max_record_bytes: of one record.
            clock: Unix seconds.

        Raises:
            StoreRefused: the URL means nothing, its driver is missing, or the database is newer than this program.
            StoreUnavailable: the database cannot be reached.
        """
        database = Database(url)
        limits = Limits(ttl, max_bytes, min(max_record_bytes, max_bytes), clock)
        try:
            await migrate(url)
            return cls(database, limits, await shared_secret(database))
        except BaseException:
            await database.close()
            raise

    async def close(self) -> None:
        await self._database.close()

    def secret(self) -> bytes:
        """32 random bytes, the same in every process with this database, for as long as it exists."""
        return self._secret

    async def sweep(self) -> Swept:
        """Removes what has expired, and the oldest while all is over `max_bytes`; nothing that runs."""
        return await self._sweeper.sweep()

    def now(self) -> float:
        """Unix seconds, by the clock of the records' times."""
        return self._limits.clock()

    @property
    def sweep_due(self) -> bool:
        """Whether so much was written here since the last sweep that the next one should not wait."""
        return self._database.written > self._limits.max_bytes // _SWEEP_AT
