"""The tables, as the newest migration leaves them.

Times are Unix seconds. JSON is kept as bytes, and its size in a column of its own that stands before them, so that
a sum of sizes does not read the contents. `owner` is the id of an API key, "" where there are no keys.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

_LONGEST_KEY = 255

# PostgreSQL takes no NUL in text, and no UTF-8 holds half a surrogate pair.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class ClientText(TypeDecorator[str]):
    """Text that may come from a client: what no database takes is replaced, when kept and when looked up alike."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else _UNSTORABLE.sub("\ufffd", value)


def is_key(value: Any) -> bool:
    """Whether a value can be a key of a table: PostgreSQL's indexes take no more than 2,700 bytes."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_KEY


metadata = MetaData()

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

responses = Table(
    "responses",
    metadata,
    Column("id", ClientText, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double, nullable=False),  # last change; it expires a time to live after
    Column("background", Boolean, nullable=False),
    Column("previous_response_id", ClientText),
    Column("conversation_id", ClientText),
    Column("worker", Text, nullable=False),  # the process that makes it, for a person who looks
    Column("running", Boolean, nullable=False),
    Column("lease_until", Double),  # while running; whoever makes it is taken for gone after
    Column("cancel_requested", Boolean, nullable=False),
    Column("deleted", Boolean, nullable=False),  # while running: hidden, and removed when it ends
    Column("input_count", Integer, nullable=False),  # items
    Column("output_count", Integer, nullable=False),
    Column("last_event", BigInteger, nullable=False),  # sequence number, -1 with none
    Column("body_size", BigInteger, nullable=False),
    Column("input_size", BigInteger, nullable=False),
    Column("events_size", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("input_items", LargeBinary, nullable=False),
    Index("responses_used", "used_at"),
    Index("responses_lease", "running", "lease_until"),
)

response_items = Table(  # where an item is, by its id
    "response_items",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("item_id", ClientText, primary_key=True),
    Column("response_id", ClientText, ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True),
    Index("response_items_response", "response_id"),
)

response_events = Table(
    "response_events",
    metadata,
    Column("response_id", ClientText, ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True),
    Column("first", BigInteger, primary_key=True),  # sequence numbers
    Column("last", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", ClientText, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double, nullable=False),
    Column("next_position", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),  # bytes, its items included
    Column("locked_by", ClientText),  # the response that runs in it
    Column("lock_until", Double),
    Column("metadata", LargeBinary, nullable=False),
    Index("conversations_used", "used_at"),
    Index("conversations_lock", "locked_by"),
)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("conversation_id", ClientText, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("item_id", ClientText, nullable=False),
    Column("owner", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("item", LargeBinary, nullable=False),
    Index("conversation_items_id", "conversation_id", "item_id", unique=True),
    Index("conversation_items_owner", "owner", "item_id"),
)

completions = Table(
    "completions",
    metadata,
    Column("id", ClientText, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double, nullable=False),
    Column("model", ClientText, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("metadata", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("messages", LargeBinary, nullable=False),
    Index("completions_used", "used_at"),
    Index("completions_listed", "owner", "created_at", "id"),
)

completion_metadata = Table(  # what a list can be filtered by
    "completion_metadata",
    metadata,
    Column("completion_id", ClientText, ForeignKey("completions.id", ondelete="CASCADE"), primary_key=True),
    Column("key", ClientText, primary_key=True),
    Column("value", ClientText, nullable=False),
)

files = Table(
    "files",
    metadata,
    Column("id", ClientText, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double, nullable=False),
    Column("expires_at", Double),  # where the client has named a time
    Column("filename", ClientText, nullable=False),
    Column("purpose", ClientText, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Index("files_used", "used_at"),
    Index("files_listed", "owner", "created_at", "id"),
)

vector_stores = Table(
    "vector_stores",
    metadata,
    Column("id", ClientText, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double, nullable=False),
    Column("expires_days", Integer),  # after its last use; None: the store's time to live alone counts
    Column("expires_at", Double),  # `used_at` and those days
    Column("model", ClientText, nullable=False),  # embeds its texts and what is looked for in it
    Column("dimensions", Integer, nullable=False),  # of that model's vectors
    Column("size", BigInteger, nullable=False),  # bytes of what follows; its files count themselves
    Column("name", ClientText, nullable=False),
    Column("description", ClientText),
    Column("metadata", LargeBinary, nullable=False),
    Index("vector_stores_used", "used_at"),
    Index("vector_stores_listed", "owner", "created_at", "id"),
)

vector_store_batches = Table(
    "vector_store_batches",
    metadata,
    Column("id", ClientText, primary_key=True),
    Column("vector_store_id", ClientText, ForeignKey("vector_stores.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    Index("vector_store_batches_of", "vector_store_id"),
)

vector_store_files = Table(
    "vector_store_files",
    metadata,
    Column("vector_store_id", ClientText, ForeignKey("vector_stores.id", ondelete="CASCADE"), primary_key=True),
    Column("file_id", ClientText, ForeignKey("files.id", ondelete="CASCADE"), primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("batch_id", ClientText),
    Column("status", Text, nullable=False),  # in_progress, completed, failed, cancelled
    Column("error_code", Text),
    Column("error_message", Text),
    Column("attempts", Integer, nullable=False),
    Column("claim", Text),  # of whoever processes it
    Column("lease_until", Double),  # while in progress: nobody else takes it up before
    Column("chunk_tokens", Integer, nullable=False),
    Column("overlap_tokens", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),  # bytes of its chunks and attributes
    Column("attributes", LargeBinary, nullable=False),
    Index("vector_store_files_file", "file_id"),
    Index("vector_store_files_batch", "batch_id"),
    Index("vector_store_files_lease", "status", "lease_until"),
)

vector_store_chunks = Table(
    "vector_store_chunks",
    metadata,
    Column("vector_store_id", ClientText, primary_key=True),
    Column("file_id", ClientText, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("start", BigInteger, nullable=False),  # in the file's text, in characters
    Column("vectors", LargeBinary, nullable=False),  # FP32, little-endian, one after another
    Column("text", LargeBinary, nullable=False),  # UTF-8; after the vectors, so that a search does not read it
    ForeignKeyConstraint(
        ["vector_store_id", "file_id"],
        ["vector_store_files.vector_store_id", "vector_store_files.file_id"],
        ondelete="CASCADE",
    ),
)
