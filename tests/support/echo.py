"""A Triton model repository of one trivial Python model: starts in a second, and can be made to misbehave."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).parents[1] / "faults" / "repository"


def ask(http_url: str, text: str, timeout: float = 10.0) -> str:
    """What the model gives back.

    Raises:
        httpx.HTTPError: Triton does not answer, or with an error.
    """
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
    answer = httpx.post(f"{http_url}/v2/models/echo/infer", json={"inputs": [tensor]}, timeout=timeout)
    answer.raise_for_status()
    return str(answer.json()["outputs"][0]["data"][0])


def repository_with(folder: Path, name: str, initialize: str) -> Path:
    """A copy of the repository with a second model whose `initialize` has this body (one line)."""
    repository = folder / "repository"
    shutil.copytree(REPOSITORY, repository, ignore=shutil.ignore_patterns("__pycache__"))
    model = shutil.copytree(repository / "echo", repository / name)
    config = model / "config.pbtxt"
    config.write_text(config.read_text().replace('"echo"', f'"{name}"'))
    (model / "1" / "model.py").write_text(
        f"import os, time\n\nclass TritonPythonModel:\n"
        f"    def initialize(self, args):\n        {initialize}\n\n"
        f"    def execute(self, requests):\n        return []\n"
    )
    return repository
