"""Entries of a catalog that consist of one random file, and a hub that has it."""

from __future__ import annotations

import hashlib
import random

from build.catalog import HubSource, ModelEntry, ModelFile, Source
from build.hub import Hub
from tests.unit.build.file_server import FileServer

CONTENT = random.Random(7).randbytes(3_000_000)
HUB = HubSource("owner/name", "abc123", "folder/weights.gguf")
HUB_PATH = "/owner/name/resolve/abc123/folder/weights.gguf"


def model_file(*sources: Source, content: bytes = CONTENT, name: str = "weights.gguf") -> ModelFile:
    return ModelFile(name, "weights", len(content), hashlib.sha256(content).hexdigest(), sources)


def entry(*files: ModelFile) -> ModelEntry:
    # Not through the catalog's rules: here only files matter.
    found = object.__new__(ModelEntry)
    object.__setattr__(found, "files", files)
    return found


def hub_of(server: FileServer) -> Hub:
    """A hub at this server that does not wait long between attempts."""
    return Hub(server.url, retry_delay=0.01)
