"""Body of `POST /v1/chat/completions/{id}`."""

from __future__ import annotations

from adapter.schema.body import RequestModel
from adapter.schema.metadata import Metadata


class CompletionUpdate(RequestModel):
    metadata: Metadata
