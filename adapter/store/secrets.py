"""The secret that all processes with one database share."""

from __future__ import annotations

import secrets as random

from sqlalchemy import select

from adapter.store.database import Database
from adapter.store.tables import secrets

_BYTES = 32


async def shared_secret(database: Database, name: str = "sealing") -> bytes:
    """32 random bytes, made by whoever asks first."""
    async with database.write() as connection:
        made = random.token_bytes(_BYTES)
        await connection.execute(database.insert_or_ignore(secrets).values(name=name, value=made))
        kept: bytes = (await connection.execute(select(secrets.c.value).where(secrets.c.name == name))).scalar_one()
        return kept
