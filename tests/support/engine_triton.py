"""A Triton with one small chat model whose engine is set up as a test needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from build.assemble import prepare
from build.catalog import CATALOG
from launcher.state import StateLock
from launcher.triton_server import TritonServer
from tests.support import models
from tokentext.cache import cache_folder

NAME = models.CHAT.rpartition("/")[2]
ENGINE = f"{NAME}_engine"


@contextmanager
def engine_triton(
    folder: Path, change: Callable[[Path], None] | None = None, **settings: int
) -> Iterator[TritonServer]:
    """Runs Triton with `models.CHAT` alone.

    Args:
        folder: for the repository and the state.
        change: called with the engine's folder `1` in the repository before Triton starts.
        settings: of the engine `llama_cpp`, over those of the catalog.
    """
    entries = CATALOG.read_text(encoding="utf-8").split("[[models]]")
    entry = next(entry for entry in entries if f'id = "{models.CHAT}"' in entry)
    lines = [f"{key} = {value}" for key, value in settings.items()]
    catalog = folder / "catalog.toml"
    catalog.write_text("\n".join(["[[models]]", entry, "[models.settings]", *lines, ""]), encoding="utf-8")
    repository = prepare([models.CHAT], folder / "repository", cache_folder(), catalog=catalog)
    if change is not None:
        change(repository / ENGINE / "1")
    state = folder / "state"
    with StateLock(state), TritonServer([repository], state) as server:
        yield server


def grpc_address(server: TritonServer) -> str:
    """`host:port`, as `tritonclient` wants it."""
    return server.grpc_url.removeprefix("grpc://")
