"""Imports go one way: what is further down here knows nothing of what is above it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ADAPTER = Path(__file__).parents[3] / "adapter"

# Packages and single modules of `adapter`, from the top down: each may import those after it, and its own modules.
ORDER = (
    "__main__",
    "server",
    "app",
    "front_door",
    "routes",
    "services",
    "request_context",
    "responses",
    "tools",
    "retrieval",
    "store_failures",
    "prompts",
    "encoding",
    "schema",
    "generation",
    "media",
    "settings",
    "security",
    "triton",
    "parsing",
    "store",
    "telemetry",
    "errors",
)
# Other code of this repository that uses the adapter, or stands beside it.
OTHERS = ("build", "launcher", "tests", "model_repository")


def imported(source: str) -> Iterator[str]:
    """The modules that a source imports anywhere, in functions and below TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"a relative import in line {node.lineno}"
            # The name may be a module itself: `from adapter import settings`.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong(place: str, source: str) -> list[str]:
    """The imports of a module in `place`, a part of ORDER, that lead up or out of the adapter."""
    at = ORDER.index(place)
    found = []
    for module in imported(source):
        root, _, rest = module.partition(".")
        if root in OTHERS or (root == "adapter" and ORDER.index(rest.split(".")[0]) < at):
            found.append(f"{place} -> {module}")
    return found


def places() -> Iterator[tuple[str, Path]]:
    for file in sorted(ADAPTER.rglob("*.py")):
        parts = file.relative_to(ADAPTER).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], file


def test_no_import_leads_up() -> None:
    assert [line for place, file in places() for line in wrong(place, file.read_text(encoding="utf-8"))] == []


def test_the_order_names_what_is_there() -> None:
    assert {place for place, _ in places()} == set(ORDER)


def test_every_form_of_import_is_seen() -> None:
    source = """
from typing import TYPE_CHECKING
import adapter.routes.chat
from adapter import errors, responses
if TYPE_CHECKING:
    from adapter.services import Services
def late():
    import launcher.console
"""
    assert wrong("generation", source) == [
        "generation -> adapter.routes.chat",
        "generation -> adapter.responses",
        "generation -> adapter.services.Services",
        "generation -> launcher.console",
    ]


def test_text_knows_neither_http_nor_triton() -> None:
    for file in (ADAPTER.parent / "tokentext").rglob("*.py"):
        roots = {module.partition(".")[0] for module in imported(file.read_text(encoding="utf-8"))}
        assert not roots & {"adapter", "fastapi", "starlette", "grpc", "tritonclient", *OTHERS}, file.name
