"""Imports the modules beside a Triton model's `model.py` the way Triton does: as a package of their folder."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

SOURCES = Path(__file__).parents[2] / "model_repository"


def model_module(model: str, module: str) -> ModuleType:
    """`model_repository/MODEL/1/MODULE.py`; its relative imports work."""
    package = f"triton_model_{model}"
    if package not in sys.modules:
        parent = ModuleType(package)
        parent.__path__ = [str(SOURCES / model / "1")]
        sys.modules[package] = parent
    return importlib.import_module(f"{package}.{module}")
