"""What a running Triton says of itself over HTTP, and what its log says of a failure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import httpx

LOADED = re.compile(r"successfully loaded '([^']+)'")
TAIL_BYTES = 16384


@dataclass(frozen=True)
class ModelState:
    """One model of Triton's repository index; `state` is READY, LOADING, UNLOADING or UNAVAILABLE."""

    name: str
    state: str
    reason: str


class HealthClient:
    """Short questions to one Triton.

    Args:
        url: `http://host:port`.
        timeout: seconds for each question.
    """

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        self._client = httpx.Client(base_url=url, timeout=timeout, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def identity(self) -> str | None:
        """The id that the server was started with; None as long as nothing answers.

        Triton does not answer before it has tried to load every start-up model. "" stands for what is no Triton.
        """
        try:
            return str(self._client.get("/v2").json()["name"])
        except httpx.TransportError:
            return None
        except (ValueError, KeyError, TypeError):
            return ""

    def ready(self) -> bool:
        """Whether every model is loaded."""
        try:
            return self._client.get("/v2/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def models(self) -> list[ModelState] | None:
        """The repository index; None if the server does not answer."""
        try:
            answer = self._client.post("/v2/repository/index")
            answer.raise_for_status()
            return [ModelState(item["name"], item.get("state", ""), item.get("reason", "")) for item in answer.json()]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None

    def instances(self, model: str) -> int:
        """How many instances (Python model: processes) the model's configuration asks for; 0 if unknown."""
        try:
            answer = self._client.get(f"/v2/models/{model}/config")
            answer.raise_for_status()
            return sum(group.get("count", 1) for group in answer.json().get("instance_group", []))
        except (httpx.HTTPError, ValueError, AttributeError):
            return 0


def log_tail(path: Path, since: int = 0, lines: int = 15) -> str:
    """The last `lines` lines that say something: no tables, no harmless complaints about missing GPUs.

    Args:
        since: byte at which the part begins that counts: what an earlier run wrote explains nothing.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(min(since, size), size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    dull = re.compile(r"^[+|]|^\s*$|CUDA|Cuda|DCGM|NVML")
    return "\n".join([line[:600] for line in text.splitlines() if not dull.search(line)][-lines:])
