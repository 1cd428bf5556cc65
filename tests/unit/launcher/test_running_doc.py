"""docs/running.md says of the settings what is so."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any

from adapter.settings import Settings

DOCUMENT = Path(__file__).parents[3] / "docs" / "running.md"


def shown(default: Any) -> str:
    if default is None or default == "":
        return ""
    return f"`{default.value if isinstance(default, Enum) else default}`"


def test_every_setting_is_in_the_table_with_its_default() -> None:
    wanted = [
        f"| `TRITONGATE_{name.upper()}` | {shown(field.default)} | {field.description} |".replace("|  |", "| |")
        for name, field in Settings.model_fields.items()
    ]
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `TRITONGATE_")]
    assert [row for row in rows if "`TRITONGATE_CACHE`" not in row] == wanted


def test_every_variable_that_is_mentioned_exists() -> None:
    known = {f"TRITONGATE_{name.upper()}" for name in Settings.model_fields} | {"TRITONGATE_CACHE"}
    assert set(re.findall(r"TRITONGATE_[A-Z_]+", DOCUMENT.read_text())) <= known
